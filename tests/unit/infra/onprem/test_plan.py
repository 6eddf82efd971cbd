"""What stands where, and the document that the control plane gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from infra.onprem import plan as planning
from infra.onprem.plan import Plan
from infra.onprem.preflight import Report
from infra.onprem.resources import MachineProvider, digest
from stacks.config.base import ConfigError
from stacks.config.choice import choose
from stacks.config.common import Advanced
from stacks.on_hosts import refuse_advanced
from stacks.on_prem import plan_of
from stacks.self_hosted_ssh import plan_of as plan_of_own

MASTER = {"dashboard": "https://remora.example.com", "addresses": ["203.0.113.7/32"], "release_keys": ["a2V5"]}
HOSTS = [{"address": "10.0.0.1"}, {"address": "10.0.0.2", "port": 2222, "group": "gpu", "gpus": ["0"], "slots": 2}]


def plan(**settings: Any) -> Plan:
    values = {"name": "lab", "hosts": HOSTS, "master": MASTER, "handover": "/srv/lab", **settings}
    return plan_of(choose({"flavour": "on_prem", "provider": "ssh", "on_prem": values}).settings)


def test_the_first_machine_carries_queue_and_store_unless_others_are_named() -> None:
    found = plan()
    assert (found.queue.place.name, found.store.place.name) == ("10.0.0.1", "10.0.0.1")
    other = plan(queue={"host": "10.0.0.2", "address": "queue.lab"}, store={"host": "10.0.0.9"})
    assert (other.queue.place.name, other.queue.address) == ("10.0.0.2:2222", "queue.lab")
    assert other.store.place.name == "10.0.0.9"


def test_each_machine_is_looked_at_for_what_it_is_for() -> None:
    found = plan(store={"host": "10.0.0.9"})
    by_name = {place.name: one for place, one in planning.wanted(found, ["x86_64"]).items()}
    assert by_name["10.0.0.1"].listens == {"remora-queue": 7379}
    assert by_name["10.0.0.9"].listens == {"remora-store": 7070}
    assert (by_name["10.0.0.2:2222"].gpus, by_name["10.0.0.9"].runs_agent) == (["0"], False)


def test_the_queue_is_open_to_workers_and_master_alone() -> None:
    found = plan(queue={"allowed": ["10.9.0.0/16"]})
    reports = [Report(machine.place, [], {"source": machine.place.address}) for machine in found.machines]
    found = Plan(**{**found.__dict__, "sources": planning.sources(found, reports)})
    allowed = planning.queue_props(found)["allowed"]
    assert allowed == ["10.0.0.1/32", "10.0.0.2/32", "10.9.0.0/16", "203.0.113.7/32"]


def test_the_document_names_files_and_no_secret() -> None:
    document = planning.document(plan())
    assert document.queue.url == "rediss://10.0.0.1:7379/0"
    assert document.queue.key == "/srv/lab/master.key"
    assert [(group.slug, group.scale_max, group.join_secret) for group in document.groups] == [
        ("machines", 1, "file:/srv/lab/group-machines"),
        ("gpu", 1, "file:/srv/lab/group-gpu"),
    ]
    data = next(store for store in document.stores if store.purpose == "data")
    assert (data.location, data.credentials, data.ca) == (
        "s3://lab-data",
        "file:/srv/lab/store-credentials",
        "/srv/lab/ca.pem",
    )


def test_an_existing_s3_and_a_folder() -> None:
    s3 = plan(store={"kind": "s3", "endpoint": "https://s3.lab", "bucket": "b", "credentials": "file:/root/s3"})
    assert planning.document(s3).stores[0].location == "s3://b/lab/code"
    assert planning.handover_props(s3)["store_credentials"] == "/root/s3"
    folder = plan(hosts=HOSTS[:1], store={"kind": "folder", "path": "/data"})
    assert planning.document(folder).stores[0].location == "/data/code"


def whole(props: dict[str, Any]) -> dict[str, Any]:
    return {**props, "digest": digest(planning.compared(props))}


def test_a_host_changes_with_its_configuration_and_version_only() -> None:
    found = plan()
    before = {**whole(planning.host_props(found, found.machines[0])), "version": "0.1.0"}
    provider = MachineProvider("host")
    assert not provider.diff("", before, {**before, "release": "/elsewhere"}).changes
    assert provider.diff("", before, {**before, "version": "0.2.0"}).changes
    slots = plan(hosts=[{**HOSTS[0], "slots": 3}, HOSTS[1]])
    after = {**whole(planning.host_props(slots, slots.machines[0])), "version": "0.1.0"}
    result = provider.diff("", before, after)
    assert (result.changes, result.replaces) == (True, [])


def test_a_queue_that_moves_is_another_one() -> None:
    before = whole(planning.queue_props(plan()))
    after = whole(planning.queue_props(plan(queue={"host": "10.0.0.2"})))
    assert MachineProvider("queue").diff("", before, after).replaces == ["where"]


def test_what_has_no_effect_is_refused() -> None:
    refuse_advanced(Advanced())
    with pytest.raises(ConfigError) as caught:
        refuse_advanced(Advanced(proxy="http://proxy.lab:3128"))
    assert list(caught.value.problems) == ["advanced.proxy"]


def own(**settings: Any) -> Plan:
    needed = {"name": "lab", "hosts": HOSTS, "dashboard": "https://remora.lab:8443"}
    values = {**needed, "release_keys": ["a2V5"], **settings}
    return plan_of_own(choose({"flavour": "self_hosted", "provider": "ssh", "self_hosted": values}).settings)


def test_the_control_plane_stands_on_the_first_machine_or_on_one_of_its_own() -> None:
    servers = ["server-cp311-x86_64"]
    by_name = {place.name: one for place, one in planning.wanted(own(), ["x86_64"], servers).items()}
    assert by_name["10.0.0.1"].listens["remora-server"] == 8443
    assert (by_name["10.0.0.1"].servers, by_name["10.0.0.2:2222"].servers) == (servers, None)
    apart = own(master_host="10.0.0.9", dashboard="https://remora.lab")
    by_name = {place.name: one for place, one in planning.wanted(apart, ["x86_64"], servers).items()}
    assert (by_name["10.0.0.9"].listens, by_name["10.0.0.9"].runs_agent) == ({"remora-server": 443}, False)
    reports = [Report(place, [], {"source": place.address}) for place in planning.wanted(apart, ["x86_64"], servers)]
    assert planning.sources(apart, reports) == ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.9/32"]


def test_the_document_of_ones_own_control_plane_names_files_of_its_machine() -> None:
    document = planning.document(own())
    assert (document.flavour, document.provider) == ("self_hosted", "ssh")
    assert document.queue.password == "file:/etc/remora-server/installation/queue-password"
    assert planning.store_props(own())["origin"] == "https://remora.lab:8443"


def test_files_of_the_control_plane_are_read_again_when_they_change(tmp_path: Path) -> None:
    file = tmp_path / "database"
    file.write_text("postgresql://remora:planted-secret@db/remora")
    found = own(database=f"file:{file}")
    assert found.master is not None
    before = whole(planning.master_props(found, found.master))
    assert "planted-secret" not in str(before) and before["database"] == str(file)
    os.utime(file, ns=(1, 1))
    again = own(database=f"file:{file}")
    assert again.master is not None
    assert MachineProvider("master").diff("", before, whole(planning.master_props(again, again.master))).changes
    with pytest.raises(ConfigError, match=r"self_hosted.database: /no/such can't be read \(No such file"):
        own(database="file:/no/such")
