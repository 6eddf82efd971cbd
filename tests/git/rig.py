"""What people do with a project's repository, as calls of the API."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

from sqlalchemy import select

from controlplane.commits.models import Commit
from controlplane.db.session import SYSTEM
from fixtures.git_server import HttpsGit, Repository
from fixtures.web import YAML, World

FILES = {"valohai.yaml": YAML, "train.py": b"print('hello')\n", "lib/tools.py": b"x = 1\n"}


class Rig:
    """Ann's project and its repository."""

    def __init__(self, world: World, servers: HttpsGit) -> None:
        self.world = world
        self.servers = servers
        self.ann = world.client("ann")
        self.settings_url = f"/api/v1/projects/{world.project}/repository/"

    @property
    def home(self) -> Path:
        return self.world.services.settings.home / "git"

    def address(self, repository: Repository) -> str:
        return self.servers.url(str(repository.folder.relative_to(self.servers.root)).removesuffix(".git"))

    def connect(self, url: str, **values: Any) -> dict[str, Any]:
        answer = self.ann.post(self.settings_url, json={"url": url, **values})
        assert answer.status_code == 201, answer.text
        return answer.json

    def change(self, **values: Any) -> dict[str, Any]:
        answer = self.ann.call("PUT", self.settings_url, json=values)
        assert answer.status_code == 200, answer.text
        return answer.json

    def shown(self) -> dict[str, Any]:
        return self.ann.get(self.settings_url).json

    def fetch(self) -> dict[str, Any]:
        answer = self.ann.post(f"/api/v0/projects/{self.world.project}/fetch/")
        assert answer.status_code == 201, answer.text
        return answer.json

    def fetched(self) -> dict[str, str]:
        """What a fetch that went well brought: {name: commit}."""
        found = self.fetch()
        assert found["errors"] == []
        return {entry["ref"]: entry["identifier"] for entry in found["commits"]}

    def refused(self) -> tuple[str, str]:
        """(sentence, reason) of a fetch that failed."""
        found = self.fetch()
        assert found["commits"] == [] and len(found["errors"]) == 1, found
        shown = self.shown()
        assert shown["fetch"]["error"] == found["errors"][0]
        return found["errors"][0], shown["fetch"]["reason"]

    def commits(self) -> list[dict[str, Any]]:
        return self.ann.get(f"/api/v0/projects/{self.world.project}/commits/").json

    def run(self, commit: str, step: str = "train") -> Any:
        body = {"project": self.world.project, "commit": commit, "step": step}
        return self.ann.post("/api/v0/executions/", json=body)

    def ran(self, commit: str) -> str:
        """Identifier of the commit that an execution of this name got."""
        answer = self.run(commit)
        assert answer.status_code == 201, answer.text
        found = answer.json["commit"]
        return found if isinstance(found, str) else found["identifier"]

    def why_not(self, commit: str) -> str:
        answer = self.run(commit)
        assert answer.status_code == 400, answer.text
        return answer.json["commit"][0]["message"]

    def row(self, identifier: str) -> Commit:
        with self.world.services.db.read(SYSTEM) as session:
            return session.scalars(select(Commit).where(Commit.identifier == identifier)).one()

    def archive(self, identifier: str) -> dict[str, bytes]:
        """Files of the stored snapshot."""
        path = self.world.services.settings.stores_dir / "code" / self.row(identifier).archive_key
        with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r:gz") as tar:
            return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}  # type: ignore[union-attr]

    def leftovers(self) -> list[str]:
        """Files of secrets that are still there."""
        return [str(path) for path in self.home.rglob("tmp-*")]
