"""The wire between master and worker: names, envelopes, bodies, signatures and seals.

Both sides speak `PROTOCOL` and the version before it.
"""

from __future__ import annotations

PROTOCOL = 1
OLDEST_PROTOCOL = 1

MAX_BATCH_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 24
BEAT_SECONDS = 10.0
