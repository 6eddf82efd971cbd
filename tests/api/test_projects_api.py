def test_list(world):
    answer = world.client("ann").get("/api/v0/projects/?limit=1000")
    assert answer.status_code == 200, answer.text
    assert [p["name"] for p in answer.json["results"]] == ["anns work"]
    answer = world.client("eve").get("/api/v0/projects/?limit=1000")
    assert [p["name"] for p in answer.json["results"]] == ["eves work"]
    assert world.client("eve").get(f"/api/v0/projects/{world.project}/").status_code == 404
    assert world.client("bob").get(f"/api/v0/projects/{world.project}/").status_code == 200
