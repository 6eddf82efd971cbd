"""References with every secret store that the control plane knows."""

from __future__ import annotations

from controlplane.clock import Clock, utc_now
from controlplane.data.stores.http import StoreHttp
from controlplane.environments.aws_secrets import AwsSecrets
from controlplane.environments.references import References
from controlplane.net.reach import Reach
from controlplane.settings import Settings
from worker_bootstrap.protocol.reach import parse_networks

# Addresses are those of the clouds' services, or named by the operator: none is a user's.
EVERYWHERE = parse_networks(["0.0.0.0/0", "::/0"])


def open_references(settings: Settings, clock: Clock = utc_now) -> References:
    """One for each process: what it has read, it keeps for a while."""
    http = StoreHttp(Reach(EVERYWHERE), settings.ca_bundle)
    return References({"aws": AwsSecrets(http, clock)}, settings.run_dir / "queues", clock)
