"""The provider on a loopback port, for as long as a test session needs it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from support.servicer import AwsServicer
from support.sessions import Sessions

THREADS = 32
LARGEST_MESSAGE = 256 << 20


@contextmanager
def attached_aws(binary: str, endpoint: str, folder: Path) -> Iterator[str]:
    """What PULUMI_DEBUG_PROVIDERS wants to hear of it. Its logs are in the folder."""
    sessions = Sessions(binary, endpoint, folder)
    options = [("grpc.max_receive_message_length", LARGEST_MESSAGE), ("grpc.max_send_message_length", LARGEST_MESSAGE)]
    server = grpc.server(futures.ThreadPoolExecutor(THREADS), options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(AwsServicer(sessions), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"aws:{port}"
    finally:
        server.stop(None).wait()
        sessions.close()
