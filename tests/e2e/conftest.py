"""The project of the end-to-end tests on the shared stack."""

from __future__ import annotations

import pytest

from fixtures.bench import Bench, make_bench
from fixtures.inputs import FileServer
from fixtures.stack import Stack


@pytest.fixture(scope="session")
def bench(stack: Stack, served: FileServer) -> Bench:
    """One project, any command."""
    return make_bench(stack, served, "e2e")
