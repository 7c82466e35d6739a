"""A grpc.aio server that answers PlaceHold at once, with the mesh's mutual TLS: what the transport itself can do.

Job: `identities`, and `answer`, a PlaceHoldResponse of the product as hexadecimal, for its size.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from benchmarks.load.rpc_requests import CALLED
from benchmarks.load.serving import serve
from holdfast.api.capacity.v1 import hold_service_pb2, hold_service_pb2_grpc
from holdfast.common.mesh_identity import MeshIdentity

if TYPE_CHECKING:
    from collections.abc import Mapping


class Echo(hold_service_pb2_grpc.HoldServiceServicer):
    """Gives the same hold back under the request's key."""

    def __init__(self, answer: hold_service_pb2.PlaceHoldResponse) -> None:
        self._answer = answer

    async def PlaceHold(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 (gRPC's names)
        """Answer; gRPC serializes it before another call is looked at."""
        self._answer.hold.id = request.request_id
        return self._answer


async def start(job: Mapping[str, Any]) -> int:
    """Listen; give the port."""
    server = grpc.aio.server()
    answer = hold_service_pb2.PlaceHoldResponse.FromString(bytes.fromhex(job["answer"]))
    servicer = Echo(answer)  # type: ignore[abstract] # the other RPCs are not called
    hold_service_pb2_grpc.add_HoldServiceServicer_to_server(servicer, server)
    identity = MeshIdentity.load(Path(job["identities"]), CALLED)
    port = server.add_secure_port("127.0.0.1:0", identity.server_credentials())
    await server.start()
    _KEPT.append(server)
    return port


_KEPT: list[grpc.aio.Server] = []
"""A server that nobody refers to stops."""


if __name__ == "__main__":
    serve(start)
