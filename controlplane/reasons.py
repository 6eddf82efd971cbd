"""Why an execution waits, or how it ended: one registry of codes with their sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Blame = Literal["nobody", "user", "infrastructure", "capacity", "policy"]


@dataclass(frozen=True)
class Reason:
    """`sentence` and `next_step` may name arguments in braces; a missing argument reads as "?"."""

    code: str
    sentence: str
    next_step: str = ""
    blame: Blame = "nobody"

    @property
    def anchor(self) -> str:
        """Where the documentation speaks of it."""
        return f"reasons.md#{self.code.replace('_', '-')}"


class _Arguments(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"


_ALL = [
    # Waiting
    Reason("waiting_for_grant", "Accepted; waiting for the dispatcher.", "It takes a moment."),
    Reason(
        "no_worker",
        "No machine has joined {environment}.",
        "Start a worker of this environment, or choose another one (`vh environments`).",
        "capacity",
    ),
    Reason(
        "worker_silent",
        "No machine of {environment} has been heard of lately.",
        "Look at the worker's service and at its way to the queue; it goes on by itself when one is back.",
        "infrastructure",
    ),
    Reason(
        "all_busy",
        "All {slots} slots of {environment} are busy; number {position} in the queue.",
        "It starts when a running execution ends.",
        "capacity",
    ),
    Reason(
        "draining", "Every machine of {environment} is leaving.", "Wait for a new one, or choose another.", "capacity"
    ),
    Reason("group_disabled", "{environment} is switched off.", "Ask an administrator, or choose another.", "policy"),
    Reason("granted", "Granted to {worker}; the machine prepares it.", ""),
    Reason(
        "queue_unreachable", "The workers' queue does not answer.", "Start Redis; nothing is lost.", "infrastructure"
    ),
    # Running
    Reason("phase_code", "The code is fetched.", ""),
    Reason("phase_image", "The image {image} is fetched.", ""),
    Reason("phase_inputs", "The inputs are fetched.", ""),
    Reason("phase_running", "The command runs.", ""),
    Reason("phase_uploading", "The outputs are stored.", ""),
    Reason("stopping", "Asked to stop by {by}.", "The process has a few seconds to end by itself."),
    Reason("retrying", "Attempt {number} failed: {why} It is tried again.", "", "infrastructure"),
    # Ended, by the user's code or wish
    Reason("done", "The last command ended with code 0.", ""),
    Reason("exit_code", "The last command ended with code {exit_code}.", "Look at the end of the log.", "user"),
    Reason(
        "oom_killed",
        "The process used more memory than its limit and was killed.",
        "Use smaller batches, or an environment with more memory.",
        "user",
    ),
    Reason("stopped_by_user", "Stopped by {by}.", ""),
    Reason("time_limit", "It ran longer than its time limit of {time_limit} s.", "Raise `time-limit`.", "policy"),
    Reason(
        "no_output_timeout",
        "It printed nothing for {no_output_timeout} s.",
        "Print progress, or raise `no-output-timeout`.",
        "policy",
    ),
    Reason(
        "image_not_found",
        "The image can't be had: {detail}",
        "Check the image's name and tag, and that this machine can reach its registry.",
        "user",
    ),
    Reason("input_not_found", "An input can't be read: {detail}", "Check the input's address.", "user"),
    Reason("input_checksum", "An input changed while it was read: {detail}", "Start it again.", "infrastructure"),
    Reason("code_archive_bad", "The code archive can't be unpacked: {detail}", "Send the code again.", "user"),
    Reason(
        "mount_refused", "This machine does not allow the mount {detail}.", "Ask for it in its allow-list.", "policy"
    ),
    # Ended, by the infrastructure
    Reason(
        "disk_full", "The machine's disk is full: {detail}", "Free space, or use a machine with more.", "infrastructure"
    ),
    Reason("engine_gone", "The machine's container engine does not answer.", "Start it again.", "infrastructure"),
    Reason("engine_error", "The container engine refused: {detail}", "Look at the engine's log.", "infrastructure"),
    Reason("store_refused", "The store refused an output: {detail}", "Look at the store's space.", "infrastructure"),
    Reason("worker_lost", "The machine {worker} was lost.", "", "infrastructure"),
    Reason("worker_forgot", "The machine no longer knows this attempt.", "", "infrastructure"),
    Reason("refused", "The machine refused the job: {detail}", "", "infrastructure"),
    Reason("agent_error", "The agent failed: {detail}", "Look at the agent's log.", "infrastructure"),
    Reason(
        "attempts_exhausted",
        "The infrastructure failed {number} times; the last time: {why}",
        "Mend the cause, then start a copy.",
        "infrastructure",
    ),
]

REASONS: dict[str, Reason] = {reason.code: reason for reason in _ALL}
UNKNOWN = Reason("unknown", "No reason was recorded.", "Look at the server's log.", "infrastructure")


def sentence(code: str, arguments: dict[str, Any] | None = None) -> str:
    """The plain sentence of a code; empty for no code."""
    if not code:
        return ""
    return REASONS.get(code, UNKNOWN).sentence.format_map(_Arguments(arguments or {}))


def next_step(code: str, arguments: dict[str, Any] | None = None) -> str:
    """What the reader can do; empty where nothing is to be done."""
    return REASONS.get(code, UNKNOWN).next_step.format_map(_Arguments(arguments or {})) if code else ""
