"""Bad input that shows while the execution runs: a state, one sentence, or a line in the log."""

from __future__ import annotations

from fixtures.bench import Bench
from fixtures.refusals import check_says, refusals
from fixtures.stack import free_port


def check_end(bench: Bench, what: str, execution: str, timeout: float = 60) -> None:
    """It ends in the state and with the sentence of the page."""
    ran = bench.end(execution, timeout=timeout)
    assert ran.shown["status"] == refusals()[what][0], ran.text
    check_says(what, ran.said)


def test_input_that_is_not_there(bench: Bench) -> None:
    url = bench.files.url("absent.csv")
    check_end(bench, "input that is not there", bench.start("true", inputs={"data": [url]}))


def test_input_host_that_does_not_answer(bench: Bench) -> None:
    url = f"http://127.0.0.1:{free_port()}/file"
    check_end(bench, "input host that does not answer", bench.start("true", inputs={"data": [url]}))


def test_image_that_does_not_exist(bench: Bench) -> None:
    # A registry answers to this; whatever it is asked for, it does not have.
    bench.files.files["v2/"] = b"{}"
    image = f"127.0.0.1:{bench.files.port}/none/such:1"
    check_end(bench, "image that does not exist", bench.start("true", image=image))


def test_registry_that_does_not_answer(bench: Bench) -> None:
    image = f"127.0.0.1:{free_port()}/some/thing:1"
    check_end(bench, "registry that does not answer", bench.start("true", image=image))


def test_command_that_fails(bench: Bench) -> None:
    check_end(bench, "command that fails", bench.start("exit 3"))


def test_only_the_last_command_counts(bench: Bench) -> None:
    assert bench.run("false\ntrue").shown["status"] == "complete"


def test_time_limit(bench: Bench) -> None:
    check_end(bench, "time limit", bench.start("echo begun\nsleep 60", time_limit=1))


def test_no_output_for_too_long(bench: Bench) -> None:
    answer = bench.ask(step="quiet")
    check_end(bench, "no output for too long", answer.json()["id"])


def test_mount_that_the_machine_does_not_allow(bench: Bench) -> None:
    answer = bench.ask(step="mounts")
    check_end(bench, "mount that the machine does not allow", answer.json()["id"])


def test_output_that_is_a_link(bench: Bench) -> None:
    ran = bench.run("ln -s /etc/passwd /valohai/outputs/link.txt; echo kept > /valohai/outputs/kept.txt")
    assert ran.shown["status"] == "complete", ran.text
    assert [row["name"] for row in ran.shown["outputs"]] == ["kept.txt"]
    check_says("output that is a link", "\n".join(ran.lines("status")))


def test_output_below_a_link_is_not_followed(bench: Bench) -> None:
    ran = bench.run("ln -s /etc /valohai/outputs/folder; ln -s ../config /valohai/outputs/up")
    assert ran.shown["status"] == "complete", ran.text
    assert ran.shown["outputs"] == []


def test_output_whose_name_has_a_backslash(bench: Bench) -> None:
    ran = bench.run(r"echo x > '/valohai/outputs/..\evil.txt'")
    assert ran.shown["status"] == "complete", ran.text
    assert ran.shown["outputs"] == []
    check_says("output whose name has a backslash", "\n".join(ran.lines("status")))


def test_line_of_10_mb_is_whole_in_pieces(bench: Bench) -> None:
    ran = bench.run("python -c \"print('begin' + 'x' * 10_000_000 + 'end')\"\necho after")
    assert ran.shown["status"] == "complete", ran.text[-2000:]
    pieces = ran.lines("stdout")
    assert pieces[-1] == "after"
    line = "".join(piece.removesuffix("…") for piece in pieces[:-1])
    assert len(line) == 10_000_008 and line.startswith("begin") and line.endswith("end")
    assert all(len(piece.encode()) <= 65_536 + 3 for piece in pieces)


def test_binary_on_stdout(bench: Bench) -> None:
    ran = bench.run("head -c 100000 /dev/urandom\nprintf '\\0\\377\\n'\necho after")
    assert ran.shown["status"] == "complete", ran.text[-2000:]
    assert ran.lines("stdout")[-1] == "after"
    assert any("\ufffd" in line for line in ran.lines("stdout"))


def test_hostile_metadata_is_only_text(bench: Bench) -> None:
    """JSON that is no object, deep nesting, NaN, huge numbers: lines of the log, and the execution goes on."""
    command = "\n".join(
        [
            "echo '[1, 2]'",
            "echo '{\"nan\": NaN}'",
            "python -c \"print('{' + '\\\"a\\\":{' * 5000 + '}' * 5001)\"",
            "python -c \"print('{\\\"n\\\":' + '9' * 5000 + '}')\"",
            "echo '{\"good\": 1}'",
        ]
    )
    ran = bench.run(command)
    assert ran.shown["status"] == "complete", ran.text[-2000:]
    assert ran.shown["cumulative_metadata"]["good"] == 1


def test_secret_variable_is_masked(bench: Bench) -> None:
    with bench.stack.api() as api:
        body = {"name": "HIDDEN", "value": "s3cret-value-of-this-test", "secret": True}
        assert api.post(f"projects/{bench.project}/environment_variable/", json=body).status_code < 300
    ran = bench.run('test -n "$HIDDEN" && echo "it is <$HIDDEN>"')
    assert ran.shown["status"] == "complete", ran.text
    assert "it is <***>" in ran.lines("stdout")
    assert "s3cret-value" not in ran.text
