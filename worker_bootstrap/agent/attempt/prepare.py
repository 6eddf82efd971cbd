"""From a granted job to a created container. Everything here may be done again from its beginning."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt.code import fetch_code
from worker_bootstrap.agent.attempt.config_files import write_config
from worker_bootstrap.agent.attempt.context import Context
from worker_bootstrap.agent.attempt.engine import PatientEngine
from worker_bootstrap.agent.attempt.errors import infrastructure_error
from worker_bootstrap.agent.attempt.inputs import ON_DEMAND, fetch_inputs, is_on_demand
from worker_bootstrap.agent.attempt.login import ask_login
from worker_bootstrap.agent.attempt.spec import local_proxies, make_spec, share_of
from worker_bootstrap.agent.identity import facts
from worker_bootstrap.agent.relay import RelayServer
from worker_bootstrap.agent.runtime.base import Handle, Image, RegistryAuth

OpenRelay = Callable[[str], RelayServer]
FOLDERS = {"repository": 0o777, "inputs": 0o755, "outputs": 0o777, "config": 0o755}
LOCALHOST = "127.0.0.1"


class Preparation:
    """`phase` announces a phase; `open_relay` listens on an address."""

    def __init__(
        self, context: Context, engine: PatientEngine, phase: Callable[[str], None], open_relay: OpenRelay
    ) -> None:
        self._context = context
        self._engine = engine
        self._phase = phase
        self._open_relay = open_relay
        self._beside = ThreadPoolExecutor(1, "network")
        self._gateway: Future[str] | None = None
        self.image = ""

    def begin(self, *, again: bool) -> None:
        """Make the network beside the steps that do not need it. `again`: an earlier agent may have left something."""
        self._gateway = self._beside.submit(lambda: self._new_network(again=again))

    def settle(self) -> None:
        """Wait until nothing is made any more."""
        self._beside.shutdown()

    def run(self, slot: int) -> Handle:
        """The created container, after `begin`. Raises AttemptError, HaltedError, OSError."""
        context, job, runtime = self._context, self._context.job, self._context.tools.runtime
        if self._gateway is None:
            raise RuntimeError("begin comes first")
        self._make_folders()
        self._check_disk()
        self._say_what_is_left_out()
        self._phase("code")
        fetch_code(context, context.folder / "repository")
        context.alive()
        self._phase("inputs")
        inputs = fetch_inputs(context, context.folder / "inputs")
        self._open_on_demand_folders()
        context.alive()
        self._phase("image")
        image = self._pull()
        self.image = image.digest
        context.alive()
        gateway = self._gateway.result()
        relay = self._open_relay(gateway)
        write_config(context.folder / "config", job, inputs, relay.config())
        machine = facts()
        share = share_of(context.config, slot, machine["cpus"], machine["memory"])
        # By its id: the name may mean another image by now, which somebody else was let to pull.
        spec = make_spec(context, share, image.id, gateway)
        return self._engine.call(lambda: runtime.create(spec))

    def network(self) -> str:
        """Address for the relay: the gateway of the attempt's own bridge."""
        job, runtime = self._context.job, self._context.tools.runtime
        if self._context.host_network:
            return LOCALHOST
        proxies = local_proxies(job.container.proxy)
        return self._engine.call(lambda: runtime.prepare_network(job.attempt, proxies))

    def _new_network(self, *, again: bool) -> str:
        attempt, runtime = self._context.job.attempt, self._context.tools.runtime
        if again:
            self._engine.call(lambda: runtime.cleanup(attempt))
        return self.network()

    def _say_what_is_left_out(self) -> None:
        context = self._context
        for problem in context.control_problems:
            context.status(problem)
        if context.controls.host_network and not context.host_network:
            context.status("VH_DOCKER_NETWORK=host is left out: this environment does not allow it.")

    def _pull(self) -> Image:
        context = self._context
        job, runtime = context.job, context.tools.runtime
        policy = "always" if context.controls.no_image_cache else job.container.image_pull

        def progress(sentence: str) -> None:
            context.alive()  # a stop does not wait for the rest of a large image
            context.status(sentence)

        def login() -> RegistryAuth | None:
            return ask_login(context)

        return self._engine.call(lambda: runtime.pull(job.container.image, policy, login, progress))

    def _make_folders(self) -> None:
        for name, mode in FOLDERS.items():
            path = self._context.folder / name
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)

    def _open_on_demand_folders(self) -> None:
        """The container itself writes there, perhaps not as root."""
        for entry in self._context.job.inputs:
            if is_on_demand(entry):
                (self._context.folder / "inputs" / entry.name).chmod(0o777)

    def _check_disk(self) -> None:
        context, job = self._context, self._context.job
        files = [f for entry in job.inputs for f in entry.files if f.download_intent != ON_DEMAND]
        needed = job.code.size + sum(file.size or 0 for file in files) + context.config.min_disk_free
        free = shutil.disk_usage(context.folder).free
        if free < needed:
            detail = f"{free} bytes are free below {_shown(context.folder)}, this job needs {needed}"
            raise infrastructure_error(reasons.DISK_FULL, detail)


def _shown(folder: Path) -> str:
    return str(folder.parent)


def remove_tree(path: Path) -> bool:
    """Whether the folder is gone; an agent that is not root can't remove what root wrote in the container."""
    shutil.rmtree(path, ignore_errors=True)
    return not os.path.lexists(path)
