"""What the contract has and no servicer does: unary or a stream, it answers NOT_BUILT_YET through the same door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from holdfast.common.contracts import contract_services
from holdfast.common.errors import Reason
from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.metrics import Metrics
from holdfast.common.rpc_server import RpcServer
from holdfast.common.status import from_rpc_error
from tests.integration.common_rpc.handlers import HOLDS, Holds
from tests.support.little_contract import little_contract

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from holdfast.common.rpc_client import Peer
    from tests.integration.common_rpc.conftest import Workshop

STREAMS = """
message WatchRequest { string order_id = 1 [(buf.validate.field).string.min_len = 1]; }
message WatchResponse {}
service StreamService {
  rpc Watch(WatchRequest) returns (stream WatchResponse) {
    option (holdfast.api.common.v1.policy) = {callers: ["gateway"]};
  }
}
service UploadService {
  rpc Upload(stream WatchRequest) returns (WatchResponse) {
    option (holdfast.api.common.v1.policy) = {callers: ["gateway"]};
  }
}
"""


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ServiceDescriptor]:
    return dict(little_contract("streams", STREAMS, tmp_path_factory.mktemp("orders")).services_by_name)


async def refused(peer: Peer, rpc: MethodDescriptor, **fields: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    stream = peer.channel.unary_stream(
        f"/{rpc.containing_service.full_name}/{rpc.name}",
        request_serializer=GetMessageClass(rpc.input_type).SerializeToString,
        response_deserializer=GetMessageClass(rpc.output_type).FromString,
    )
    answers = stream(GetMessageClass(rpc.input_type)(**fields), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await answers.read()
    error = from_rpc_error(failed.value)
    assert error is not None
    return failed.value.code(), error.reason.value, dict(error.metadata)


async def test_a_stream_without_a_handler_is_not_built_yet(
    workshop: Workshop, streams: dict[str, ServiceDescriptor]
) -> None:
    server = await workshop.server(streams["StreamService"], object())
    watch = streams["StreamService"].methods_by_name["Watch"]
    assert await refused(await workshop.peer(server.address), watch, order_id="7") == (
        grpc.StatusCode.UNIMPLEMENTED,
        "NOT_BUILT_YET",
        {"rpc": "Watch"},
    )


async def test_a_stream_is_refused_by_its_policy_and_its_rules_first(
    workshop: Workshop, streams: dict[str, ServiceDescriptor]
) -> None:
    server = await workshop.server(streams["StreamService"], object())
    watch = streams["StreamService"].methods_by_name["Watch"]
    stranger = await workshop.peer(server.address, me="orders")
    assert (await refused(stranger, watch, order_id="7"))[1] == "CALLER_NOT_ALLOWED"
    assert (await refused(await workshop.peer(server.address), watch))[1] == "VALIDATION_FAILED"


async def test_a_stream_of_requests_and_two_handlers_of_one_rpc_are_refused_when_they_are_added(
    workshop: Workshop, streams: dict[str, ServiceDescriptor]
) -> None:
    with pytest.raises(ValueError, match=r"UploadService\.Upload takes a stream"):
        await workshop.server(streams["UploadService"], object())
    server = RpcServer(
        service="capacity",
        listen="127.0.0.1:0",
        identity=MeshIdentity.load(workshop.certificates, "capacity"),
        mesh=workshop.settings(),
        metrics=Metrics("capacity"),
    )
    with pytest.raises(ValueError, match=r"HoldService\.PlaceHold is served by more than one object"):
        server.add(HOLDS, Holds(), Holds())


async def test_every_service_of_the_contract_is_served_without_a_list(workshop: Workshop, certificates: Path) -> None:
    holds = Holds()
    server = RpcServer(
        service="capacity",
        listen="127.0.0.1:0",
        identity=MeshIdentity.load(certificates, "capacity"),
        mesh=workshop.settings(),
        metrics=Metrics("capacity"),
        notice_seconds=0.0,
    )
    server.add(HOLDS, holds)
    server.add_missing()
    await server.start()
    workshop.stack.push_async_callback(server.stop)
    peer = await workshop.peer(server.address)
    services = contract_services("capacity")
    assert HOLDS in services
    assert len(services) > 1
    for service in services:
        rpc = service.methods[0]
        call: Any = peer.channel.unary_unary(f"/{service.full_name}/{rpc.name}")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"", timeout=5)
        # The front door answers (no principal was sent), not gRPC's own UNIMPLEMENTED without a reason.
        error = from_rpc_error(failed.value)
        assert error is not None, service.full_name
        assert error.reason in {Reason.PEER_UNKNOWN, Reason.CALLER_NOT_ALLOWED, Reason.VALIDATION_FAILED}
