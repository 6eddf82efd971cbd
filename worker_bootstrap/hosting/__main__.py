"""What the installer runs on a machine of the queue or the store: an order and JSON on standard input, JSON back.

    PEX_MODULE=worker_bootstrap.hosting ./remora-agent-ARCH.pex queue <request.json

Secrets go in by standard input and out by standard output, never as arguments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from worker_bootstrap.host.errors import HostError
from worker_bootstrap.hosting.master import MasterHost, MasterRequest
from worker_bootstrap.hosting.queue import QueueHost, QueueRequest
from worker_bootstrap.hosting.store import StoreHost, StoreRequest
from worker_bootstrap.protocol import typed
from worker_bootstrap.protocol.errors import ProtocolError

Order = Callable[[dict[str, Any]], Any]


def _credential(given: dict[str, Any]) -> str:
    return QueueHost().credential(**given)


ORDERS: dict[str, Order] = {
    "queue": lambda given: QueueHost().install(typed.load(QueueRequest, given)),
    "credential": _credential,
    "handover": lambda given: QueueHost().handover(given["groups"]),
    "sign": lambda given: QueueHost().sign(given["request"], given["names"]),
    "remove-queue": lambda _: QueueHost().uninstall(),
    "store-request": lambda given: StoreHost().certificate_request(given["address"]),
    "store": lambda given: StoreHost().install(typed.load(StoreRequest, given)),
    "store-credentials": lambda _: StoreHost().credentials(),
    "remove-store": lambda _: StoreHost().uninstall(),
    "master-request": lambda given: MasterHost().certificate_request(given["name"]),
    "master": lambda given: MasterHost().install(typed.load(MasterRequest, given)),
    "master-access": lambda _: MasterHost().access(),
    "login-link": lambda _: MasterHost().login_link(),
    "remove-master": lambda _: MasterHost().uninstall(),
}


def main() -> int:
    """The exit code of one order."""
    order = ORDERS.get(sys.argv[1] if len(sys.argv) > 1 else "")
    if order is None:
        print(f"An order is expected: {', '.join(ORDERS)}.", file=sys.stderr)
        return 2
    try:
        answer = order(json.loads(sys.stdin.read() or "{}"))
    except (HostError, ProtocolError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
