"""moto's server, mended where it answers otherwise than AWS in what an installation does. Runs in moto's environment.

AWS lets go of a network interface that outlives its machine when the machine ends; moto keeps it attached for ever, so
that it can be neither detached nor removed. Calls that come at once trip over each other in moto (a security group's
first rule is there although it was taken away before): here one is answered after the other.
"""

from __future__ import annotations

import sys
import threading

from moto import server  # pyright: ignore[reportMissingImports]
from moto.ec2.models.instances import Instance  # pyright: ignore[reportMissingImports]

terminate = Instance.terminate
run_simple = server.run_simple


def terminate_and_let_go(instance, *arguments, **options):
    """As `Instance.terminate`, and the interfaces that stay are free afterwards."""
    state = terminate(instance, *arguments, **options)
    # The machine goes on knowing its addresses, as its description shows them until it is forgotten.
    for interface in (one for one in instance.nics.values() if not one.delete_on_termination):
        interface.instance = interface.attachment_id = interface.attach_time = interface.device_index = None
        interface.status = "available"
    return state


def run_one_by_one(host, port, application, **options):
    """As `run_simple`; connections are many, calls one after the other."""
    alone = threading.Lock()

    def answer(environ, start_response):
        with alone:
            return list(application(environ, start_response))

    run_simple(host, port, answer, **options)


Instance.terminate = terminate_and_let_go
server.run_simple = run_one_by_one
server.main(sys.argv[1:])
