"""The control plane, as the wizard speaks to it: takes the installation in, runs one execution as proof."""

from __future__ import annotations

import gzip
import io
import json
import os
import ssl
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from stacks.wizard.errors import WizardError

POLL_SECONDS = 2.0
# A queue's machine writes its secrets at its first boot, some minutes after it was made.
FIRST_BOOT_SECONDS = 600
IMPORT_SECONDS = FIRST_BOOT_SECONDS + 120
PROOF = "installation-proof"
STEP = "prove"
ENDED = ("complete", "error", "stopped", "crashed")


@dataclass(frozen=True)
class Access:
    """Where it is and whose token is used. `trusted`: a certificate (PEM text) that it may show, or empty."""

    url: str
    token: str
    trusted: str = ""


def find_access(home: Path, url: str) -> Access | None:
    """Of REMORA_TOKEN, or of the control plane that runs on this machine; None where nothing is known."""
    token = os.environ.get("REMORA_TOKEN", "")
    if url and token:
        return Access(url.rstrip("/"), token)
    file = home / "access.json"
    if not file.is_file():
        return None
    known = json.loads(file.read_text())
    if url and known["url"].rstrip("/") != url.rstrip("/"):
        return None
    return Access(known["url"].rstrip("/"), known["token"])


def import_here(home: Path, document: Path) -> dict[str, Any]:
    """Let the control plane of this machine take the document in; what it changed. Raises WizardError.

    Waits for a queue that boots for the first time.
    """
    remora = str(Path(sys.executable).with_name("remora"))
    command = [remora, "server", "import-installation", str(document), "--json", "--wait", str(FIRST_BOOT_SECONDS)]
    environment = {**os.environ, "REMORA_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=IMPORT_SECONDS)
    if done.returncode != 0:
        raise WizardError(f"The control plane does not take {document} in: {done.stderr.strip()}", 2)
    return json.loads(done.stdout)


class ControlPlane:
    """Raises WizardError with the control plane's own sentence."""

    def __init__(self, access: Access, timeout: float = 30.0) -> None:
        self._url = access.url
        headers = {"Authorization": f"Token {access.token}", "Accept": "application/json"}
        trust = ssl.create_default_context()
        if access.trusted:
            trust.load_verify_locations(cadata=access.trusted)
            trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._http = httpx.Client(base_url=access.url, headers=headers, timeout=timeout, verify=trust)

    def prove(self, environment: str, image: str, wait: float) -> dict[str, Any]:
        """An execution of one command on this worker group, as it stands when it has ended or `wait` (s) is over."""
        project = self._proof_project()
        package = {"data": ("data.tgz", _package(image), "application/gzip")}
        commit = self._call("POST", f"/api/v0/projects/{project}/import-package/", files=package)["identifier"]
        order = {"project": project, "commit": commit, "step": STEP, "environment": environment, "title": "Proof"}
        made = self._call("POST", "/api/v0/executions/", json=order)
        until = time.monotonic() + wait
        while made["status"] not in ENDED and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            made = self._call("GET", f"/api/v0/executions/{made['id']}/")
        return made

    def _proof_project(self) -> str:
        for row in self._call("GET", "/api/v0/projects/", params={"limit": 9000})["results"]:
            if row["name"] == PROOF:
                return row["id"]
        return self._call("POST", "/api/v0/projects/", json={"name": PROOF})["id"]

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise WizardError(f"{self._url} can't be reached: {error}", 2) from error
        if answer.status_code >= 400:
            raise WizardError(f"{self._url}{path} answers {answer.status_code}: {answer.text[:500]}", 2)
        return answer.json()


def _package(image: str) -> bytes:
    """An ad-hoc package whose step says on which machine it ran; the same image gives the same bytes."""
    step = {"name": STEP, "image": image, "command": ["uname -a", "echo Remora works here."]}
    text = json.dumps([{"step": step}]).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("valohai.yaml")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return gzip.compress(packed.getvalue(), mtime=0)
