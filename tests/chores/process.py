"""The chores process as it is, with the tests' kinds beside the real ones."""

from __future__ import annotations

from chores.kinds import TEST_KINDS
from controlplane.processes.chores import serve
from controlplane.processes.common import configure_logs
from controlplane.settings import Settings

if __name__ == "__main__":
    configure_logs()
    serve(Settings(), TEST_KINDS)  # pyright: ignore[reportCallIssue]
