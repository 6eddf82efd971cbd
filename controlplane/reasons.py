"""Why an execution waits, how far it is, how it ended, or why code can't be fetched: codes with their sentences.

`docs/reference/reasons.md` is generated from here by `tools/gen_reasons.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

Blame = Literal["none", "user", "infrastructure", "capacity", "policy"]
Stage = Literal["waiting", "running", "ended", "warning", "fetch"]
BLAMES: tuple[Blame, ...] = get_args(Blame)


@dataclass(frozen=True)
class Reason:
    """`sentence` and `next_step` may name arguments in braces; a missing argument reads as "?"."""

    code: str
    stage: Stage
    sentence: str
    next_step: str = ""
    blame: Blame = "none"

    @property
    def anchor(self) -> str:
        """Where the documentation speaks of it."""
        return f"reasons.md#{self.code.replace('_', '-')}"


class _Arguments(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"


def _waiting() -> list[Reason]:
    return [
        Reason("waiting_for_grant", "waiting", "Accepted; waiting for the dispatcher.", "It takes a moment."),
        Reason(
            "dispatcher_away",
            "waiting",
            "The dispatcher has not looked at it for {seconds} s.",
            "Look at the process `loops` and at its way to the database and the queue; nothing is lost.",
            "infrastructure",
        ),
        Reason(
            "no_worker_in_group",
            "waiting",
            "No machine has joined {environment}.",
            "Start a worker of this environment, or choose another one (`vh environments`).",
            "capacity",
        ),
        Reason(
            "worker_silent",
            "waiting",
            "No machine of {environment} has been heard of for {seconds} s.",
            "Look at the worker's service and at its way to the queue; it goes on by itself when one is back.",
            "infrastructure",
        ),
        Reason(
            "worker_draining",
            "waiting",
            "Every machine of {environment} is leaving.",
            "Wait for a new one, or choose another environment.",
            "capacity",
        ),
        Reason(
            "all_busy",
            "waiting",
            "All {slots} slots of {environment} are busy; number {position} in the queue.",
            "It starts when a running execution ends.",
            "capacity",
        ),
        Reason(
            "behind_others",
            "waiting",
            "Number {position} in the queue of {environment}.",
            "It takes a moment.",
            "capacity",
        ),
        Reason(
            "group_disabled",
            "waiting",
            "{environment} is switched off.",
            "Ask an administrator to switch it on, or choose another environment.",
            "policy",
        ),
        Reason(
            "group_gone",
            "waiting",
            "Its environment was removed.",
            "Stop it and start a copy in another environment.",
            "policy",
        ),
        Reason(
            "quota",
            "waiting",
            "{running} executions of {owner} run already; the quota is {quota}.",
            "It starts when one of them ends; an administrator can raise the quota.",
            "policy",
        ),
        Reason(
            "granted",
            "waiting",
            "Granted to {worker}; waiting until the machine has taken it.",
            "It takes a few seconds; it is said again until the machine answers.",
        ),
        Reason(
            "queue_unreachable",
            "waiting",
            "The workers' queue does not answer.",
            "Start its Redis; nothing is lost.",
            "infrastructure",
        ),
        Reason(
            "retrying",
            "waiting",
            "Attempt {number} failed: {why} It is tried again.",
            "Nothing is to be done; the log keeps every attempt.",
            "infrastructure",
        ),
    ]


def _running() -> list[Reason]:
    return [
        Reason("phase_code", "running", "The code is fetched."),
        Reason("phase_image", "running", "The image {image} is fetched."),
        Reason("phase_inputs", "running", "The inputs are fetched."),
        Reason("phase_running", "running", "The command runs."),
        Reason("phase_uploading", "running", "The outputs are stored."),
        Reason("worker_back", "running", "The machine {worker} was heard of again; the attempt goes on."),
        Reason("stopping", "running", "{by} asked it to stop.", "The process has a few seconds to end by itself."),
        Reason("superseded", "running", "A newer attempt was granted; this one is stopped."),
        Reason(
            "output_bad_name",
            "warning",
            "The output {detail} was left out: the store can't keep that name.",
            "Rename it: no '..', no control characters or backslash, at most 255 bytes between two '/'.",
            "user",
        ),
        Reason(
            "metadata_sampled",
            "warning",
            "It prints more metadata points a second than are kept; beyond that they are sampled.",
            "Print a point less often; every line is in the log.",
            "user",
        ),
        Reason(
            "log_gap",
            "warning",
            "Log lines {first} to {last} are missing.",
            "The process that keeps the lines was ended, or the store lost them; the execution itself goes on.",
            "infrastructure",
        ),
    ]


def _ended_by_user() -> list[Reason]:
    return [
        Reason("done", "ended", "The last command ended with code 0."),
        Reason(
            "exit_code",
            "ended",
            "The last command ended with code {exit_code}.",
            "The end of the log says why.",
            "user",
        ),
        Reason(
            "oom_killed",
            "ended",
            "It used more memory than its limit of {detail} and was killed.",
            "Use smaller batches, or an environment with more memory.",
            "user",
        ),
        Reason("stopped_by_user", "ended", "{by} stopped it."),
        Reason(
            "time_limit",
            "ended",
            "It ran longer than its time limit of {time_limit} s.",
            "Raise `time-limit` of the step, or do less in one execution.",
            "policy",
        ),
        Reason(
            "no_output_timeout",
            "ended",
            "It printed nothing for {no_output_timeout} s.",
            "Print progress now and then, or raise `no-output-timeout` of the step.",
            "policy",
        ),
        Reason(
            "image_not_found",
            "ended",
            "The image {image} can't be had: {detail}",
            "Check the image's name and tag, and that this machine may read its registry.",
            "user",
        ),
        Reason(
            "image_without_login",
            "ended",
            "Its registry does not give the image {image} to everybody, and no credential of this project fits it: "
            "{detail}",
            "Add a credential under Registries, with a pattern that fits the image; or the image is not there at all: "
            "then mend its name.",
            "user",
        ),
        Reason(
            "image_denied",
            "ended",
            "Its registry refuses the credential for the image {image}: {detail}",
            "Test the credential under Registries: that says whether its password is wrong or lacks the right.",
            "user",
        ),
        Reason(
            "registry_login_failed",
            "ended",
            "No token for the registry of {image} can be had: {detail}",
            "Mend the credential under Registries and test it there, then start a copy.",
            "user",
        ),
        Reason(
            "input_not_found",
            "ended",
            "An input is not there: {detail}",
            "Check the input's address; a purged output can't be read again.",
            "user",
        ),
        Reason(
            "code_archive_bad",
            "ended",
            "The code archive can't be unpacked: {detail}",
            "Send the code again (`vh exec run --adhoc`).",
            "user",
        ),
        Reason(
            "mount_refused",
            "ended",
            "The machine does not allow a mount of this step: {detail}",
            "Have the folder put on the machine's own allow-list, or remove the mount.",
            "policy",
        ),
    ]


def _ended_by_infrastructure() -> list[Reason]:
    return [
        Reason(
            "image_pull_failed",
            "ended",
            "The image {image} could not be fetched: {detail}",
            "Look at the machine's way to the registry.",
            "infrastructure",
        ),
        Reason(
            "input_checksum",
            "ended",
            "An input changed while it was read: {detail}",
            "Write new data under a new address, then start a copy.",
            "infrastructure",
        ),
        Reason(
            "input_unreachable",
            "ended",
            "The server of an input does not answer: {detail}",
            "Look at that server and at the machine's way to it.",
            "infrastructure",
        ),
        Reason(
            "disk_full",
            "ended",
            "The machine's disk is full: {detail}",
            "Free space on the machine, or use an environment with a larger disk.",
            "infrastructure",
        ),
        Reason(
            "engine_gone",
            "ended",
            "The machine's container engine does not answer.",
            "Start the engine on {worker}.",
            "infrastructure",
        ),
        Reason(
            "engine_error",
            "ended",
            "The container engine refused: {detail}",
            "Look at the engine's log on {worker}.",
            "infrastructure",
        ),
        Reason(
            "store_refused",
            "ended",
            "The store did not take an output: {detail}",
            "Look at the store's free space and its rights.",
            "infrastructure",
        ),
        Reason(
            "worker_lost",
            "ended",
            "The machine {worker} was lost.",
            "Look whether it runs; its agent's log has the rest.",
            "infrastructure",
        ),
        Reason(
            "worker_left",
            "ended",
            "The machine {worker} left before it was done.",
            "Let machines drain before they are switched off.",
            "infrastructure",
        ),
        Reason(
            "worker_forgot",
            "ended",
            "The machine {worker} no longer knows this attempt.",
            "Its state folder was emptied while it ran; let it drain first.",
            "infrastructure",
        ),
        Reason(
            "unknown_attempt",
            "ended",
            "The machine {worker} never got this attempt.",
            "Nothing is to be done, unless it happens again: then look at the agent's log.",
            "infrastructure",
        ),
        Reason(
            "refused_by_worker",
            "ended",
            "The machine {worker} refused the job: {detail}",
            "Look at the agent's log.",
            "infrastructure",
        ),
        Reason(
            "agent_error",
            "ended",
            "The agent failed: {detail}",
            "Look at the agent's log on {worker}.",
            "infrastructure",
        ),
        Reason(
            "job_impossible",
            "ended",
            "No job could be made of it: {detail}",
            "Mend the cause, then start a copy.",
            "infrastructure",
        ),
        Reason(
            "attempts_exhausted",
            "ended",
            "The infrastructure failed {number} times; the last time: {why}",
            "Mend the cause, then start a copy.",
            "infrastructure",
        ),
    ]


def _fetch() -> list[Reason]:
    return [
        Reason(
            "git_missing",
            "fetch",
            "This server has no `git` of version {oldest} or newer.",
            "Install it from the distribution.",
            "infrastructure",
        ),
        Reason(
            "git_no_ssh",
            "fetch",
            "This server has no ssh client.",
            "Install it from the distribution (openssh-client), or use an https address.",
            "infrastructure",
        ),
        Reason(
            "git_address_refused",
            "fetch",
            "{host} has no address that may be used from here.",
            "Look at the repository's address; a network inside is opened by `REMORA_ALLOWED_NETWORKS`.",
            "policy",
        ),
        Reason(
            "git_unreachable",
            "fetch",
            "The repository's server gave no whole answer.",
            "Look at the repository's address, and fetch again.",
            "infrastructure",
        ),
        Reason(
            "git_redirected",
            "fetch",
            "The repository's server leads to another address, which is not followed.",
            "Set the address that the repository has now.",
            "user",
        ),
        Reason(
            "git_tls",
            "fetch",
            "The certificate of the repository's server is not trusted.",
            "Have its authority put into the file that `REMORA_CA_BUNDLE` names.",
            "policy",
        ),
        Reason(
            "git_not_found",
            "fetch",
            "The repository is not there, or these credentials may not see it.",
            "Look at its address, and at its token or deploy key.",
            "user",
        ),
        Reason(
            "git_auth_failed",
            "fetch",
            "The repository's server refuses these credentials.",
            "Give a token that may read it (https), or add the project's public key there as a deploy key (ssh).",
            "user",
        ),
        Reason(
            "git_host_key_unknown",
            "fetch",
            "The host key of {host} is not known yet; its fingerprint is {fingerprint}.",
            "Compare it with what {host} says of itself, accept it on the project's page `Repository`, fetch again.",
            "policy",
        ),
        Reason(
            "git_host_key_changed",
            "fetch",
            "The host key of {host} has changed: {known} is pinned, the server shows {fingerprint}.",
            "Somebody may stand in between. Accept the new one on the project's page `Repository` only when {host} "
            "says that it changed its key.",
            "policy",
        ),
        Reason(
            "git_too_large",
            "fetch",
            "The repository is larger than {bytes} bytes.",
            "Keep data out of it, or have `REMORA_GIT_REPOSITORY_BYTES` raised.",
            "policy",
        ),
        Reason(
            "git_too_slow",
            "fetch",
            "It took longer than {seconds} s.",
            "Fetch again; when it stays so, have `REMORA_GIT_TIMEOUT` raised.",
            "policy",
        ),
        Reason(
            "git_bad_objects",
            "fetch",
            "The repository holds objects that are broken, or made to harm who checks them out.",
            "Mend it (`git fsck` names them).",
            "user",
        ),
        Reason(
            "git_snapshot_too_large",
            "fetch",
            "The commit's files are more than {entries} entries or {bytes} bytes.",
            "Keep data out of the repository.",
            "policy",
        ),
        Reason(
            "git_no_commit",
            "fetch",
            "The repository has no commit {identifier}.",
            "Fetch again, or choose another one.",
            "user",
        ),
        Reason(
            "git_failed",
            "fetch",
            "`git` failed.",
            "Whoever runs this server finds its words in the log of `chores`.",
            "infrastructure",
        ),
    ]


REASONS: dict[str, Reason] = {
    reason.code: reason
    for reason in (*_waiting(), *_running(), *_ended_by_user(), *_ended_by_infrastructure(), *_fetch())
}
UNKNOWN = Reason("unknown", "ended", "No reason was recorded.", "Look at the server's log.", "infrastructure")


def sentence(code: str, arguments: dict[str, Any] | None = None) -> str:
    """The plain sentence of a code; empty for no code."""
    if not code:
        return ""
    return REASONS.get(code, UNKNOWN).sentence.format_map(_Arguments(arguments or {}))


def next_step(code: str, arguments: dict[str, Any] | None = None) -> str:
    """What the reader can do; empty where nothing is to be done."""
    return REASONS.get(code, UNKNOWN).next_step.format_map(_Arguments(arguments or {})) if code else ""


def is_retried(code: str) -> bool:
    """Whether a failure for this reason is worth another attempt: not when the user or a rule is the cause."""
    return REASONS.get(code, UNKNOWN).blame not in ("user", "policy")
