"""Browser sessions, forms from elsewhere, wrong passwords."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update

from controlplane.accounts.models import OrganizationMembership, Token
from controlplane.db.session import SYSTEM
from controlplane.web.app import create_app
from fixtures.web import PASSWORD, Caller, World

ME = "/api/v0/users/me/"
SAME = {"Origin": "http://remora.test:8765", "Sec-Fetch-Site": "same-origin"}
JSON = {"json": {"name": "by form"}}


def log_in(world: World, name: str = "ann", password: str = PASSWORD, **headers: str) -> tuple[Caller, object]:
    caller = world.client()
    answer = caller.post("/login", data={"username": name, "password": password}, headers={**SAME, **headers})
    return caller, answer


@pytest.mark.security("N10", "N13")
def test_login_gives_a_hardened_cookie_and_logout_ends_it(world: World) -> None:
    caller, answer = log_in(world)
    assert answer.status_code == 303, answer.text
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie and "Domain" not in cookie
    value = re.match(r"remora_session=([^;]+)", cookie).group(1)
    assert caller.get(ME).status_code == 200
    stolen = world.client()
    stolen.client.set_cookie("remora_session", value, domain="remora.test")
    assert stolen.get(ME).status_code == 200
    csrf = world.services.accounts.actor_of_cookie(value)[1]
    assert caller.post("/logout", data={"csrf": csrf}, headers=SAME).status_code == 303
    assert stolen.get(ME).status_code == 401


@pytest.mark.security("N13")
def test_a_cookie_over_https_is_bound_to_the_host(world: World, services, clock) -> None:
    settings = services.settings.model_copy(update={"public_url": "https://remora.test"})
    app = create_app(type(services)(**{**services.__dict__, "settings": settings}))
    answer = app.test_client().post(
        "/login",
        data={"username": "ann", "password": PASSWORD},
        headers={"Host": "remora.test", "Origin": "https://remora.test"},
    )
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-remora_session=") and "Secure" in cookie and "Path=/" in cookie


@pytest.mark.security("N13")
def test_each_login_has_a_new_session(world: World) -> None:
    caller = world.client()
    caller.client.set_cookie("remora_session", "fixed-by-somebody", domain="remora.test")
    answers = [
        caller.post("/login", data={"username": "ann", "password": PASSWORD}, headers=SAME).headers["Set-Cookie"]
        for _ in range(2)
    ]
    values = {re.match(r"remora_session=([^;]+)", answer).group(1) for answer in answers}
    assert len(values) == 2 and "fixed-by-somebody" not in values


def test_a_session_ends_by_time(world: World) -> None:
    browser = world.browser("ann")
    assert browser.get(ME).status_code == 200
    world.clock.forward(world.services.settings.session_ttl + 1)
    assert browser.get(ME).status_code == 401


@pytest.mark.security("N11")
@pytest.mark.parametrize("how", ["reset", "disable"])
def test_password_reset_and_disabling_end_everything(world: World, how: str) -> None:
    browser, token = world.browser("ann"), world.client("ann")
    if how == "reset":
        world.services.accounts.reset_password("ann", "another password")
    else:
        world.services.accounts.disable_user("ann")
    assert browser.get(ME).status_code == 401
    assert token.get(ME).status_code == 401
    _, answer = log_in(world)
    assert answer.status_code == 400
    _, answer = log_in(world, password="another password")
    assert answer.status_code == (303 if how == "reset" else 400)


@pytest.mark.security("N11")
def test_a_dropped_role_counts_for_open_sessions(world: World) -> None:
    browser = world.browser("bob")
    assert browser.get(f"/api/v0/projects/{world.project}/").status_code == 200
    with world.services.db.begin(SYSTEM) as session:
        session.execute(
            update(OrganizationMembership)
            .where(OrganizationMembership.user_id == world.users["bob"], OrganizationMembership.role == "member")
            .values(role="none")
        )
    assert browser.get(f"/api/v0/projects/{world.project}/").status_code == 404


FORGED = {
    "no token": ({}, {}),
    "wrong token": ({"X-CSRF-Token": "a" * 43}, {}),
    "another session's token": (None, {}),
    "cross site": ("own", {"Sec-Fetch-Site": "cross-site"}),
    "same site, other host": ("own", {"Sec-Fetch-Site": "same-site"}),
    "other origin": ("own", {"Origin": "https://evil.example"}),
    "null origin": ("own", {"Origin": "null"}),
    "no-cors": ("own", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
    "text/plain": ({"Content-Type": "text/plain"}, {}),
}


@pytest.mark.security("N12")
@pytest.mark.parametrize("case", FORGED)
def test_forged_changes_are_refused(world: World, case: str) -> None:
    browser = world.browser("ann")
    token, extra = FORGED[case]
    headers = {"X-CSRF-Token": browser.csrf} if token == "own" else token
    if headers is None:
        headers = {"X-CSRF-Token": world.browser("ann").csrf}
    answer = browser.post("/api/v0/projects/", **JSON, headers={**headers, **extra})
    assert answer.status_code == 403, answer.text
    assert world.client("ann").get("/api/v0/projects/").json["count"] == 1


@pytest.mark.parametrize("headers", [SAME, {}, {"Sec-Fetch-Site": "none"}])
def test_own_forms_are_taken(world: World, headers: dict[str, str]) -> None:
    browser = world.browser("ann")
    answer = browser.post("/api/v0/projects/", **JSON, headers={"X-CSRF-Token": browser.csrf, **headers})
    assert answer.status_code == 201
    by_field = browser.post("/projects/new", data={"name": "page", "csrf": browser.csrf}, headers=headers)
    assert by_field.status_code == 303


@pytest.mark.security("N12")
@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_nobody_is_logged_in_from_another_site(world: World, headers: dict[str, str]) -> None:
    answer = world.client().post("/login", data={"username": "ann", "password": PASSWORD}, headers=headers)
    assert answer.status_code == 403 and "Set-Cookie" not in answer.headers


def test_a_token_needs_no_csrf(world: World) -> None:
    assert world.client("ann").post("/api/v0/projects/", **JSON).status_code == 201


def get_token(world: World, username: str, password: str, **headers: str) -> object:
    return world.client().post("/api/v0/get-token/", data={"username": username, "password": password}, headers=headers)


@pytest.mark.security("N14")
def test_wrong_passwords_are_limited_by_account(world: World) -> None:
    for _ in range(world.services.settings.login_attempts_per_minute):
        answer = get_token(world, "ann", "wrong")
        assert answer.status_code == 400
        assert answer.json["non_field_errors"][0]["message"] == "Unable to log in with these credentials."
    blocked = get_token(world, "ann", PASSWORD)
    assert blocked.status_code == 429 and int(blocked.headers["Retry-After"]) > 0
    world.clock.forward(61)
    assert get_token(world, "ann", PASSWORD).status_code == 200


@pytest.mark.security("N14", "N1C")
def test_wrong_passwords_are_limited_by_address_and_a_spoofed_one_does_not_help(world: World) -> None:
    for number in range(world.services.settings.login_attempts_per_minute):
        spoofed = {"X-Forwarded-For": f"10.0.0.{number}", "X-Real-IP": f"10.0.0.{number}", "Forwarded": "for=10.1.1.1"}
        assert get_token(world, f"user{number}", "wrong", **spoofed).status_code == 400
    assert get_token(world, "bob", PASSWORD, **{"X-Forwarded-For": "10.9.9.9"}).status_code == 429


@pytest.mark.security("N1C")
def test_a_trusted_proxy_tells_the_address(world: World, services) -> None:
    world.app = create_app(services, fronts=1)
    for _ in range(services.settings.login_attempts_per_minute):
        # The last entry is the one that our own proxy wrote.
        assert get_token(world, "x", "wrong", **{"X-Forwarded-For": "1.2.3.4, 10.0.0.1"}).status_code == 400
    assert get_token(world, "bob", "wrong", **{"X-Forwarded-For": "9.9.9.9, 10.0.0.1"}).status_code == 429
    assert get_token(world, "bob", PASSWORD, **{"X-Forwarded-For": "10.0.0.1, 10.0.0.2"}).status_code == 200


@pytest.mark.security("N14")
def test_tries_at_once_do_not_pass_the_limit_together(world: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: get_token(world, "ann", "wrong").status_code, range(30)))
    assert answers.count(400) <= world.services.settings.login_attempts_per_minute + 8
    assert answers.count(429) >= 12


@pytest.fixture
def costly(world: World) -> Iterator[World]:
    """With the real cost of a password."""
    world.services.accounts._hasher = PasswordHasher()
    world.services.accounts.reset_password("ann", PASSWORD)
    world.services.accounts._attempts = 1000
    yield world


@pytest.mark.security("N14")
def test_an_unknown_user_takes_the_same_time_and_text(costly: World) -> None:
    def measure(name: str) -> tuple[float, str]:
        started = time.perf_counter()
        answer = get_token(costly, name, "wrong")
        return time.perf_counter() - started, answer.text

    measure("ann")
    pairs = [(measure("ann"), measure("nobody-here")) for _ in range(9)]
    known, unknown = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
    assert abs(known - unknown) < 0.5 * max(known, unknown)
    assert pairs[0][0][1] == pairs[0][1][1]


def test_passwords_are_argon2id_and_tokens_are_hashed(costly: World) -> None:
    answer = get_token(costly, "ann", PASSWORD)
    token = answer.json["token"]
    with costly.services.db.read(SYSTEM) as session:
        rows = session.scalars(select(Token)).all()
        assert all(token not in (row.digest, row.name) for row in rows)
        from controlplane.accounts.models import User

        hashed = session.scalar(select(User.password_hash).where(User.username == "ann"))
    assert hashed.startswith("$argon2id$v=19$m=65536")


@pytest.mark.parametrize("expiry", [-1, 10])
def test_tokens_end_by_time(world: World, expiry: int) -> None:
    from datetime import timedelta

    with world.services.db.begin(SYSTEM) as session:
        session.execute(update(Token).values(expires_at=world.clock.now + timedelta(seconds=expiry)))
    assert world.client("ann").get(ME).status_code == (200 if expiry > 0 else 401)
    world.clock.forward(11)
    assert world.client("ann").get(ME).status_code == 401
