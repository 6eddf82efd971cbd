"""Every kind of chore that there is: the allow-list. What is not here does not run."""

from __future__ import annotations

from types import MappingProxyType

from controlplane.chores.housekeeping import HOUSEKEEPING
from controlplane.chores.kinds import Kinds
from controlplane.chores.retention import RETENTION
from controlplane.data.chores import DATA_RETENTION, UPLOAD_COMPLETE, UPLOADS
from controlplane.git.chores import GIT_FETCH, GIT_FORGET, GIT_SNAPSHOT

_ALL = (HOUSEKEEPING, RETENTION, UPLOADS, UPLOAD_COMPLETE, DATA_RETENTION, GIT_FETCH, GIT_SNAPSHOT, GIT_FORGET)
KINDS: Kinds = MappingProxyType({kind.name: kind for kind in _ALL})
