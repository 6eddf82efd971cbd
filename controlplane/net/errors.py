"""What goes wrong on the way to an address that a user named. No sentence tells an open port from a closed one."""

from __future__ import annotations

from controlplane.errors import DomainError


class AddressRefusedError(DomainError):
    """The address is none that may be used from here; nothing was connected to."""

    status = 400
    code = "address_refused"


class UnreachableError(DomainError):
    """It could be used, and no whole answer came within the time and size that are given to it."""

    status = 502
    code = "unreachable"
