"""Every kind of chore that there is: the allow-list. What is not here does not run."""

from __future__ import annotations

from types import MappingProxyType

from controlplane.chores.housekeeping import HOUSEKEEPING
from controlplane.chores.kinds import Kinds
from controlplane.chores.retention import RETENTION
from controlplane.data.chores import DATA_RETENTION, UPLOADS

KINDS: Kinds = MappingProxyType({kind.name: kind for kind in (HOUSEKEEPING, RETENTION, UPLOADS, DATA_RETENTION)})
