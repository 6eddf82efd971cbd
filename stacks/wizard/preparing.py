"""What differs between providers while one installs or destroys: which checks apply, what goes before `destroy`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from stacks.config.choice import Choice
from stacks.wizard.checks import Result, run_checks
from stacks.wizard.control_plane import Access
from stacks.wizard.errors import WizardError
from stacks.wizard.host_checks import HOST_CHECKS, Host
from stacks.wizard.places import Place
from stacks.wizard.progress import Say

EMPTY_SECONDS = 600.0
LOOK_EVERY = 5.0


def preflight(choice: Choice, place: Place) -> list[Result]:
    """Every check that applies."""
    master = getattr(choice.settings, "master", None)
    results = run_checks(HOST_CHECKS, Host(place.home, choice.provider, master.dashboard if master else ""))
    if choice.provider == "aws":
        # Loaded where it is needed: plain machines need no SDK of a cloud.
        from stacks.wizard.aws_checks import AWS_CHECKS, AwsWorld

        results += run_checks(AWS_CHECKS, AwsWorld(choice.settings))
    return results


def own_control_plane(choice: Choice) -> Access | None:
    """The control plane that stands in the installation itself, if there is one. Raises WizardError."""
    if not _has_own(choice):
        return None
    found = _ask_master(choice, "access")
    return Access(found["url"], found["token"], found["certificate"])


def login_link(choice: Choice) -> str:
    """Signs the first administrator in, within a minute; empty where the control plane is elsewhere.

    Raises WizardError.
    """
    return _ask_master(choice, "login_link") if _has_own(choice) else ""


def data_that_stays(choice: Choice) -> list[str]:
    """What `destroy` leaves on machines of one's own."""
    if choice.provider != "ssh":
        return []
    from stacks.on_hosts import store_of

    store = store_of(choice.settings)
    kept = [f"{store.path} on {store.place.name}: the bytes of the store"] if store.is_own else []
    if _has_own(choice):
        from stacks.self_hosted_ssh import master_place

        kept.append(f"/var/lib/remora-server on {master_place(choice.settings).name}: database and keys")
    return kept


def _has_own(choice: Choice) -> bool:
    return (choice.flavour, choice.provider) == ("self_hosted", "ssh")


def _ask_master(choice: Choice, what: str) -> Any:
    # Loaded where it is needed, with the library for ssh.
    from infra.onprem import master
    from infra.onprem.remote import RemoteError, run_apart
    from stacks.self_hosted_ssh import master_place

    try:
        return run_apart(lambda: getattr(master, what)(master_place(choice.settings)))
    except RemoteError as error:
        raise WizardError(str(error), 2) from error


def empty_groups(choice: Choice, document: dict[str, Any], say: Say) -> None:
    """Bring every worker group to zero and wait until its machines are gone. Raises WizardError."""
    if choice.provider != "aws":
        return
    import boto3

    client = boto3.client("autoscaling", region_name=choice.settings.region)
    names = [group["settings"]["group"] for group in document["groups"]]
    for name in names:
        client.update_auto_scaling_group(AutoScalingGroupName=name, NewInstancesProtectedFromScaleIn=False)
    _release_machines(client, names)
    for name in names:
        client.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=0, DesiredCapacity=0)
    _wait(lambda: sum(len(group["Instances"]) for group in _groups(client, names)), say)


def _groups(client: Any, names: list[str]) -> list[dict[str, Any]]:
    return client.describe_auto_scaling_groups(AutoScalingGroupNames=names)["AutoScalingGroups"]


def _release_machines(client: Any, names: list[str]) -> None:
    """Machines are protected from scale-in, so that nothing but the control plane ends them; here we mean it."""
    for group in _groups(client, names):
        ids = [machine["InstanceId"] for machine in group["Instances"]]
        for first in range(0, len(ids), 50):
            client.set_instance_protection(
                AutoScalingGroupName=group["AutoScalingGroupName"],
                InstanceIds=ids[first : first + 50],
                ProtectedFromScaleIn=False,
            )


def _wait(left: Callable[[], int], say: Say) -> None:
    until = time.monotonic() + EMPTY_SECONDS
    while count := left():
        if time.monotonic() > until:
            raise WizardError(f"{count} machines of the worker groups are still there: end them and try again.", 2)
        say(f"  waiting for {count} machines to go", {"event": "machines", "left": count})
        time.sleep(LOOK_EVERY)
