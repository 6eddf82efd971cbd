"""A service of ours on a machine, and the agent's file beside it that takes orders about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.onprem.putting import carry, forget, is_ours, machine_of
from infra.onprem.release import Release
from infra.onprem.remote import Place, Session, connected

AGENT = "remora-agent.pex"


@dataclass(frozen=True)
class Service:
    """`role` is what the machine is marked for; `folder` holds the file and what it unpacks."""

    role: str
    folder: str

    @property
    def _program(self) -> str:
        return f"{self.folder}/{AGENT}"

    async def carry_agent(self, session: Session, release: Release) -> None:
        """Put the agent's file there, for `order`. Raises RemoteError, ReleaseMissingError."""
        _, content = release.agent(await machine_of(session))
        await carry(session, self._program, content)

    async def order(self, session: Session, order: str, request: Mapping[str, Any]) -> Any:
        """What the machine answers. Raises RemoteError."""
        return await session.order(self._program, order, request, f"{self.folder}/cache")

    async def remove(self, props: dict[str, Any]) -> None:
        """Take the service away, if this installation made it. Raises RemoteError."""
        async with connected(Place.of(props["place"])) as session:
            if not await is_ours(session, self.role, props["installation"]):
                return
            if (await session.ask(["test", "-x", self._program])).code == 0:
                await self.order(session, f"remove-{self.role}", {})
            await forget(session, [self.folder])
