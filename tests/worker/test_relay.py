"""The calls of api.json: from the attempt's own container with its own token, and from nowhere else."""

from __future__ import annotations

import json
import os
import shlex
from typing import Any

import pytest

from worker.fake_master import Record
from worker.rig import Rig, input_of

pytestmark = pytest.mark.needs("engine")
CALL = """
import json, sys, urllib.error, urllib.parse, urllib.request
def call(name, query=None, body=None, **headers):
    entry = json.load(open("/valohai/config/api.json"))[name]
    url = entry["url"] + ("?" + urllib.parse.urlencode(query, doseq=True) if query else "")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {**entry["headers"], **headers}, method=entry["method"])
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
"""


def code(text: str) -> dict[str, str | bytes]:
    return {"calls.py": CALL, "main.py": "from calls import *\n" + text}


def answers(rig: Rig, record: Record) -> list[Any]:
    """What the program printed, one JSON value a line."""
    return [json.loads(line) for line in rig.lines(record, "stdout")]


def test_set_status_detail(rig: Rig) -> None:
    text = "print(json.dumps(call('set_status_detail', body={'status_detail': 'half way'})))\n"
    text += "print(json.dumps(call('set_status_detail', body={'other': 1})))\n"
    record = rig.run("python main.py", files=code(text))
    assert answers(rig, record) == [[200, "{}"], [400, '{"detail": "status_detail: missing"}']]
    assert record.data("detail") == [{"status_detail": "half way"}]


def test_a_secret_in_the_status_detail_is_hidden(rig: Rig) -> None:
    text = "import os\ncall('set_status_detail', body={'status_detail': 'with ' + os.environ['TOKEN']})\n"
    secrets = {"env": {"TOKEN": "very-secret-value"}, "mask": ["very-secret-value"]}
    record = rig.run("python main.py", files=code(text), secrets=secrets)
    assert record.data("detail") == [{"status_detail": "with ***"}]


def test_an_input_on_demand_of_a_store_on_this_machine(rig: Rig) -> None:
    """Its address is the loopback's, which a container can't reach: the relay carries the bytes."""
    data = os.urandom(300_000)
    file = rig.input_file("large.bin", data, download_intent="on-demand")
    text = (
        "import hashlib, os\n"
        "print(json.dumps(os.listdir('/valohai/inputs/in')))\n"
        "status, text = call('input_request', {'inputs': ['in']})\n"
        "entry = json.loads(text)[0]['files'][0]\n"
        "print(json.dumps({k: v for k, v in entry.items() if k != 'url'}))\n"
        "status, body = fetch(entry['url'])\n"
        "print(json.dumps([status, hashlib.sha256(body).hexdigest()]))\n"
        "open('/valohai/inputs/in/large.bin', 'wb').write(body)\n"
        "print(json.dumps(fetch(entry['url'][:-1] + ('0' if entry['url'][-1] != '0' else '1'))[0]))\n"
    )
    record = rig.run("python main.py", files=code(text), inputs=[input_of("in", file)])
    listed, entry, fetched, forged = answers(rig, record)
    assert listed == []
    assert entry == {
        "input_id": "in",
        "original_uri": file.uri,
        "filename": "large.bin",
        "download_intent": "on-demand",
    }
    assert fetched == [200, file.checksums["sha256"]]
    assert forged == 401


def test_an_input_on_demand_elsewhere_keeps_its_signed_address(rig: Rig) -> None:
    file = rig.input_file("far.bin", b"x", download_intent="on-demand")
    rig.master.addresses[file.id] = "https://store.example/far.bin?signature=s"
    text = "print(json.dumps(json.loads(call('input_request', {'inputs': ['in']})[1])[0]['files'][0]['url']))\n"
    record = rig.run("python main.py", files=code(text), inputs=[input_of("in", file)])
    assert answers(rig, record) == ["https://store.example/far.bin?signature=s"]


def test_inputs_that_the_master_denies_or_nobody_knows(rig: Rig) -> None:
    file = rig.input_file("denied.bin", b"x", download_intent="on-demand")
    rig.master.errors[f"input:{file.id}"] = "not_found"
    text = "for name in ('in', 'other'):\n    print(json.dumps(call('input_request', {'inputs': [name]})))\n"
    record = rig.run("python main.py", files=code(text), inputs=[input_of("in", file)])
    assert answers(rig, record) == [[404, '{"detail": "in/denied.bin: not_found"}'], [200, "[]"]]


def test_a_call_is_carried_to_the_master(rig: Rig) -> None:
    rig.master.relay_answer = lambda call: (501, json.dumps({"asked": call.query}))
    record = rig.run("python main.py", files=code("print(json.dumps(call('trigger_catalog', {'q': 'a'})))\n"))
    assert answers(rig, record) == [[501, '{"asked": {"q": ["a"]}}']]
    assert rig.master.relays[-1].call == "trigger_catalog"


def test_without_the_token_nothing_is_answered(rig: Rig) -> None:
    text = (
        "for token in ('', 'Token wrong', 'Bearer x'):\n"
        "    status, _ = call('set_status_detail', body={'status_detail': 'x'}, Authorization=token)\n"
        "    print(json.dumps(status))\n"
        "entry = json.load(open('/valohai/config/api.json'))['set_status_detail']\n"
        "url = entry['url'].replace('set_status_detail', 'stop')\n"
        "print(json.dumps(fetch(urllib.request.Request(url, headers=entry['headers']))[0]))\n"
    )
    record = rig.run("python main.py", files=code(text))
    assert answers(rig, record) == [401, 401, 401, 404]
    assert record.data("detail") == []


def test_too_many_calls_and_too_large_ones_are_refused(rig: Rig) -> None:
    text = (
        "found = [call('set_status_detail', body={'status_detail': str(n)})[0] for n in range(60)]\n"
        "print(json.dumps(sorted(set(found))))\n"
        "import time; time.sleep(1.2)\n"
        "print(json.dumps(call('set_status_detail', body={'status_detail': 'x' * 70_000})[0]))\n"
    )
    record = rig.run("python main.py", files=code(text))
    statuses, large = answers(rig, record)
    assert statuses == [200, 429] and large == 413


@pytest.mark.needs("root")
def test_another_attempts_relay_is_out_of_reach(make_module_rig: Any) -> None:
    """Only its own bridge leads there."""
    rig = make_module_rig(slots=2, allow_without_firewall=False, allow_loopback_inputs=True)
    rig.agent.start()
    first = rig.master.grant(rig.job("cat /valohai/config/api.json; echo; echo shown; sleep 60"))
    rig.master.wait_line(first, "shown")
    shown = "\n".join(line[3] for line in rig.master.tail(first) if line[2] == "stdout")
    entry = json.loads(shown[: shown.rindex("}") + 1])["set_status_detail"]
    entry["headers"] = {"Authorization": "Token guessed"}
    probe = (
        f"entry = json.loads({shlex.quote(json.dumps(entry))})\n"
        "try:\n    print(json.dumps(fetch(entry['url'])[0]))\n"
        "except OSError as error:\n    print(json.dumps(type(error).__name__))\n"
        "print(json.dumps(call('set_status_detail', body={'status_detail': 'mine'})[0]))\n"
    )
    second = rig.run("python main.py", files=code(probe))
    theirs, own = answers(rig, second)
    assert (theirs, own) == ("URLError", 200)
    assert first.data("detail") == [] and second.data("detail") == [{"status_detail": "mine"}]
    rig.master.stop(first, kill=True)
    rig.master.ended(first)


def test_the_token_is_hidden_in_the_log(rig: Rig) -> None:
    record = rig.run("cat /valohai/config/api.json | tr -d ' \\n'; echo")
    assert '"Authorization":"Token***"' in rig.lines(record, "stdout")[0]
