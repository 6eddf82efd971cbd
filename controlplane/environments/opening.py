"""References with every secret store that the control plane knows."""

from __future__ import annotations

from controlplane.clock import Clock, utc_now
from controlplane.data.stores.http import StoreHttp
from controlplane.environments.aws_secrets import AwsSecrets
from controlplane.environments.references import References
from controlplane.net.reach import Reach
from controlplane.settings import Settings


def open_references(settings: Settings, clock: Clock = utc_now) -> References:
    """One for each process: what it has read, it keeps for a while."""
    http = StoreHttp(Reach.everywhere(), settings.ca_bundle)
    return References({"aws": AwsSecrets(http, clock)}, settings.run_dir / "queues", clock)
