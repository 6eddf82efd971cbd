"""Up, down, clean: what `remora server` does with one machine's control plane."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from sqlalchemy import select

from controlplane.db.session import SYSTEM, Database, make_engine
from controlplane.embedded import pids
from controlplane.embedded.access import Access, read_access
from controlplane.embedded.errors import SetupError
from controlplane.embedded.files import private_folder, write_private
from controlplane.embedded.first_run import prepare
from controlplane.embedded.leftovers import remove_containers
from controlplane.embedded.logfiles import last_lines
from controlplane.embedded.ports import is_free
from controlplane.embedded.ready import trust, web_answers
from controlplane.embedded.sample import Sample, SampleRun
from controlplane.embedded.supervisor import SUPERVISOR_PID, read_status
from controlplane.environments.models import Worker
from controlplane.processes.web import check_bind
from controlplane.settings import Settings

SAMPLE_FOLDER = Path(__file__).parents[2] / "samples" / "training"
SAMPLE_MARK = "sample.json"
OURS = ("access.json", "config.toml", "keys", "redis", "stores", "agent", "run", "log")
Say = Callable[[str], None]


def is_running(settings: Settings) -> bool:
    """Whether a supervisor of this state folder runs."""
    return pids.read_pid(settings.run_dir / SUPERVISOR_PID) is not None


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """One `up`, `down` or `clean` at a time. Raises SetupError while another one works."""
    private_folder(settings.home)
    with (private_folder(settings.run_dir) / "control.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError("another `remora server` command works on this state folder: wait for it.") from None
        yield


def make_ready(settings: Settings) -> Settings:
    """Check what can be checked, then the first run's steps. Only while nothing runs."""
    check_bind(settings)
    if not is_free(settings.port, settings.bind):
        raise SetupError(f"port {settings.port} is taken by another program: set REMORA_PORT to a free one.")
    return prepare(settings)


def start(settings: Settings, say: Say) -> Settings:
    """Start the supervisor in the background, if it does not run, and wait until everything answers.

    Raises SetupError.
    """
    if is_running(settings):
        running_access(settings)
        # A beat of the worker that is no older than two intervals shows that the agent lives.
        wait_ready(settings, datetime.now(UTC) - timedelta(seconds=2 * settings.beat_interval), say)
        return settings
    say("preparing the state folder")
    settings = make_ready(settings)
    say("starting the processes")
    began = datetime.now(UTC)
    _spawn(settings)
    wait_ready(settings, began, say)
    return settings


def _spawn(settings: Settings) -> None:
    with (settings.log_dir / "supervisor.log").open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "controlplane.processes.supervisor"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=settings.home,
        )


def wait_ready(settings: Settings, since: datetime, say: Say) -> None:
    """Until the pages answer and this machine's worker, if any, has been heard of since then. Raises SetupError."""
    deadline = time.monotonic() + settings.start_timeout
    _wait(settings, lambda: web_answers(settings), "web", deadline)
    if settings.embedded_worker and not _worker_heard(settings, since):
        say("waiting for the worker")
        _wait(settings, lambda: _worker_heard(settings, since), "agent", deadline)


def _wait(settings: Settings, wanted: Callable[[], bool], part: str, deadline: float) -> None:
    while not wanted():
        if time.monotonic() > deadline:
            problem = f"{part} does not answer after {settings.start_timeout:.0f} s"
            raise SetupError(_last_words(settings, part, problem))
        time.sleep(0.1)


def _last_words(settings: Settings, part: str, problem: str) -> str:
    path = settings.log_dir / f"{part}.log"
    said = "".join(f"\n    {line[:300]}" for line in last_lines(path))
    return f"{problem}; the end of {path}:{said or ' (empty)'}"


def _worker_heard(settings: Settings, since: datetime) -> bool:
    with Database(make_engine(settings.database_url.get_secret_value())).read(SYSTEM) as session:
        query = select(Worker.id).where(Worker.left_at.is_(None), Worker.last_beat_at >= since)
        return session.scalar(query.limit(1)) is not None


def running_access(settings: Settings) -> Access:
    """Address and login of what runs. Raises SetupError when it is elsewhere than the settings say."""
    access = read_access(settings.access_file)
    if access is None:
        raise SetupError(f"{settings.access_file} is missing: run `remora server reset-password NAME`.")
    if access.url != settings.public_url:
        raise SetupError(f"it runs at {access.url}: `make down` first, to have it at {settings.public_url}.")
    return access


def run_sample(settings: Settings, access: Access, say: Say) -> list[SampleRun]:
    """Run the sample unless it has run on this state folder; what it did now. Raises SetupError."""
    mark = settings.run_dir / SAMPLE_MARK
    if mark.exists() or not SAMPLE_FOLDER.is_dir():
        return []
    headers = {"Authorization": f"Token {access.token}"}
    with httpx.Client(
        base_url=f"{access.url}/api/v0/", headers=headers, timeout=30, verify=trust(settings), trust_env=False
    ) as client:
        runs = Sample(client, say, settings.sample_timeout).run(SAMPLE_FOLDER)
    if all(run.status == "complete" for run in runs):
        write_private(mark, json.dumps({run.step: run.counter for run in runs}))
    return runs


def stop(settings: Settings) -> bool:
    """End every process; whether any ran. Running executions go on in their containers."""
    supervisor = settings.run_dir / SUPERVISOR_PID
    names = [state.name for state in read_status(settings.run_dir)]
    ran = pids.end(supervisor, settings.drain_timeout * (len(names) + 1))
    # What a killed supervisor left behind. Line keepers are not ours to end: their containers still talk.
    for name in ("agent", "chores", "loops", "stream", "web", "redis"):
        ran = pids.end(settings.run_dir / f"{name}.pid", settings.drain_timeout) or ran
    return ran


def remove_everything(settings: Settings) -> list[Path]:
    """End the processes, remove their containers and the state; what stays, because Remora did not make it.

    Raises SetupError for a folder that is no state folder.
    """
    home = settings.home
    if not home.is_dir():
        return []
    if not (settings.keys_dir / "secret.key").exists():
        raise SetupError(f"{home} is no state folder of Remora (no keys/secret.key in it): remove it yourself.")
    stop(settings)
    remove_containers(settings)
    for path in [home / name for name in OURS] + list(home.glob("remora.db*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    left = sorted(home.iterdir())
    if not left:
        home.rmdir()
    return left


def replace_process(settings: Settings) -> None:
    """Become the supervisor: the same process id, its output on this terminal."""
    os.chdir(settings.home)
    os.execv(sys.executable, [sys.executable, "-m", "controlplane.processes.supervisor"])  # noqa: S606
