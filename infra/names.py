"""How what we make is called and tagged, the same in every cloud."""

from __future__ import annotations

from dataclasses import dataclass, field

INSTALLATION_TAG = "remora:installation"
GROUP_TAG = "remora:group"
PART_TAG = "remora:part"
# On a rule that lets people in to where they are only sent on to HTTPS.
REDIRECT_TAG = "remora:redirect"


@dataclass(frozen=True)
class Labels:
    """Names and tags of one installation. `further`: tags of whoever installs."""

    installation: str
    flavour: str
    further: dict[str, str] = field(default_factory=dict)

    def name(self, part: str) -> str:
        """Logical name of a part. Pulumi appends letters of its own, so that two installations never collide."""
        return f"remora-{self.installation}-{part}"

    def tags(self, **more: str) -> dict[str, str]:
        """Tags of a part; `more` by its part after `remora:`."""
        own = {INSTALLATION_TAG: self.installation, "remora:flavour": self.flavour}
        return {**self.further, **own, **{f"remora:{key}": value for key, value in more.items()}}
