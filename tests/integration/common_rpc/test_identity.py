"""Who may call: certificates, principals, policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from holdfast.api.capacity.v1 import (
    hold_service_pb2,
    hold_service_pb2_grpc,
    inventory_service_pb2,
    inventory_service_pb2_grpc,
)
from holdfast.api.events.v1 import event_pb2
from holdfast.common.authority import create_authority, issue
from holdfast.common.errors import DomainError, Reason, StartRefused
from holdfast.common.mesh_identity import MeshIdentity, Principal, service_principal
from holdfast.common.status import from_rpc_error
from tests.integration.common_rpc.conftest import BUYER, ID, ORGANIZATION, Workshop
from tests.integration.common_rpc.handlers import HOLDS, INVENTORY, Holds, Inventory

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.common.rpc_client import Peer

GET_HOLD = hold_service_pb2.GetHoldRequest(hold_id=ID)
CONTROLS = inventory_service_pb2.ApplyEventControlsRequest()


async def get_hold(peer: Peer, principal: Principal = BUYER) -> Any:
    stub = hold_service_pb2_grpc.HoldServiceStub(peer.channel)
    return await peer.call(stub.GetHold, GET_HOLD, principal=principal, deadline_seconds=5)


async def refusal(awaitable: Any) -> DomainError:
    with pytest.raises(DomainError) as refused:
        await awaitable
    return refused.value


async def raw_get_hold(
    channel: grpc.aio.Channel, metadata: tuple[tuple[str, str | bytes], ...] = ()
) -> grpc.aio.AioRpcError:
    stub = hold_service_pb2_grpc.HoldServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.GetHold(GET_HOLD, timeout=5, metadata=metadata)
    return failed.value


async def test_a_peer_and_its_principal_arrive(workshop: Workshop) -> None:
    holds = Holds()
    server = await workshop.server(HOLDS, holds)
    response = await get_hold(await workshop.peer(server.address))
    assert response.hold.id == ID
    assert [(call.peer, call.principal) for call in holds.calls] == [("gateway", BUYER)]


async def test_a_peer_without_certificate_is_refused(workshop: Workshop) -> None:
    holds = Holds()
    server = await workshop.server(HOLDS, holds)
    credentials = grpc.ssl_channel_credentials((workshop.certificates / "ca.crt").read_bytes())
    options = (("grpc.ssl_target_name_override", "capacity.holdfast.internal"),)
    async with grpc.aio.secure_channel(server.address, credentials, options=options) as channel:
        error = await raw_get_hold(channel)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    async with grpc.aio.insecure_channel(server.address) as channel:
        error = await raw_get_hold(channel)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert not holds.calls


async def test_a_certificate_of_another_authority_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    create_authority(tmp_path)
    issue(tmp_path, "gateway")
    # It trusts our authority, so that only the server can object.
    own = MeshIdentity.load(tmp_path, "gateway").certificates()
    credentials = grpc.ssl_channel_credentials(
        (workshop.certificates / "ca.crt").read_bytes(), own.key, own.certificate
    )
    holds = Holds()
    server = await workshop.server(HOLDS, holds)
    options = (("grpc.ssl_target_name_override", "capacity.holdfast.internal"),)
    async with grpc.aio.secure_channel(server.address, credentials, options=options) as channel:
        error = await raw_get_hold(channel)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert not holds.calls


async def test_a_server_of_another_name_is_refused_by_the_client(workshop: Workshop) -> None:
    holds = Holds()
    impostor = await workshop.server(HOLDS, holds, service="pricing")
    error = await refusal(get_hold(await workshop.peer(impostor.address, name="capacity")))
    assert (error.reason, dict(error.metadata)) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "capacity"})
    assert not holds.calls


async def test_a_server_of_another_authority_is_refused_by_the_client(workshop: Workshop, tmp_path: Path) -> None:
    create_authority(tmp_path)
    issue(tmp_path, "capacity")
    holds = Holds()
    impostor = await workshop.server(HOLDS, holds, directory=tmp_path)
    error = await refusal(get_hold(await workshop.peer(impostor.address)))
    assert error.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert not holds.calls


async def test_an_rpc_for_other_callers_is_refused(workshop: Workshop) -> None:
    inventory = Inventory()
    server = await workshop.server(INVENTORY, inventory)
    peer = await workshop.peer(server.address, me="gateway")
    stub = inventory_service_pb2_grpc.InventoryServiceStub(peer.channel)
    platform = Principal(subject="root", organization_id=ORGANIZATION, roles=frozenset({"platform_admin"}))
    error = await refusal(peer.call(stub.ApplyEventControls, CONTROLS, principal=platform, deadline_seconds=5))
    assert (error.reason, dict(error.metadata)) == (Reason.CALLER_NOT_ALLOWED, {"caller": "gateway"})
    assert not inventory.calls


async def test_the_named_caller_may_call_as_itself(workshop: Workshop) -> None:
    inventory = Inventory()
    server = await workshop.server(INVENTORY, inventory)
    peer = await workshop.peer(server.address, me="events")
    stub = inventory_service_pb2_grpc.InventoryServiceStub(peer.channel)
    request = inventory_service_pb2.ApplyEventControlsRequest(
        controls=event_pb2.EventControls(
            event_id=ID, organization_id=ORGANIZATION, version=7, state=event_pb2.Event.ON_SALE
        )
    )
    me = service_principal("events", ORGANIZATION)
    response = await peer.call(stub.ApplyEventControls, request, principal=me, deadline_seconds=5)
    assert response.controls_version == 7
    assert inventory.calls[0].principal == me


async def test_a_missing_permission_is_named(workshop: Workshop) -> None:
    holds = Holds()
    server = await workshop.server(HOLDS, holds)
    scanner = Principal(subject="s", organization_id=ORGANIZATION, roles=frozenset({"scanner", "nonsense"}))
    error = await refusal(get_hold(await workshop.peer(server.address), scanner))
    assert (error.reason, dict(error.metadata)) == (Reason.PERMISSION_MISSING, {"permission": "holds.read"})
    assert not holds.calls


async def test_a_permission_is_of_an_organization(workshop: Workshop) -> None:
    server = await workshop.server(HOLDS, Holds())
    nowhere = Principal(subject="root", organization_id="", roles=frozenset({"platform_admin"}))
    error = await refusal(get_hold(await workshop.peer(server.address), nowhere))
    assert error.reason is Reason.PERMISSION_MISSING


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("holdfast-principal-bin", b"\xff\xff"),),
        (("holdfast-principal-bin", b""),),
        (Principal(subject="x", organization_id="not-a-uuid", roles=frozenset({"buyer"})).to_metadata(),),
        (Principal(subject="x" * 300, organization_id=ORGANIZATION, roles=frozenset({"buyer"})).to_metadata(),),
    ],
)
async def test_without_a_readable_principal_nobody_is_known(
    workshop: Workshop, metadata: tuple[tuple[str, str | bytes], ...]
) -> None:
    holds = Holds()
    server = await workshop.server(HOLDS, holds)
    peer = await workshop.peer(server.address)
    error = await raw_get_hold(peer.channel, metadata)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    mesh_error = from_rpc_error(error)
    assert mesh_error is not None
    assert mesh_error.reason is Reason.PEER_UNKNOWN
    assert not holds.calls


async def test_another_service_speaks_only_for_itself(workshop: Workshop) -> None:
    holds = Holds()
    server = await workshop.server(HOLDS, holds)
    boss = Principal(subject="boss", organization_id=ORGANIZATION, roles=frozenset({"owner", "platform_admin"}))
    await get_hold(await workshop.peer(server.address, me="orders"), boss)
    assert holds.calls[0].principal == service_principal("orders", ORGANIZATION)
    assert not holds.calls[0].principal.can("events.write")


@pytest.mark.parametrize("me", ["gateway", "events", "capacity", "pricing"])
async def test_the_meshs_own_services_forward_whom_they_serve(workshop: Workshop, me: str) -> None:
    holds = Holds()
    server = await workshop.server(HOLDS, holds)
    await get_hold(await workshop.peer(server.address, me=me))
    assert (holds.calls[0].peer, holds.calls[0].principal) == (me, BUYER)


async def test_new_certificates_are_used_without_a_restart(tmp_path: Path, workshop: Workshop) -> None:
    create_authority(tmp_path)
    for name in ("capacity", "gateway"):
        issue(tmp_path, name)
    holds = Holds()
    server = await workshop.server(HOLDS, holds, directory=tmp_path)
    peer = await workshop.peer(server.address, directory=tmp_path)
    await get_hold(peer)

    (tmp_path / "ca.crt").unlink()
    create_authority(tmp_path)
    for name in ("capacity", "gateway"):
        issue(tmp_path, name)
    newcomer = await workshop.peer(server.address, directory=tmp_path)
    await get_hold(newcomer)  # The server shows the new certificate, and knows the new authority.
    await get_hold(peer)  # The old connection lives on.
    peer.reload()
    await get_hold(peer)  # The stub's channel is a new connection with the new certificate.
    assert len(holds.calls) == 4


async def test_half_a_rotation_is_not_taken_over(tmp_path: Path, workshop: Workshop) -> None:
    create_authority(tmp_path)
    for name in ("capacity", "gateway"):
        issue(tmp_path, name)
    holds = Holds()
    server = await workshop.server(HOLDS, holds, directory=tmp_path)
    (tmp_path / "capacity.key").write_bytes((tmp_path / "gateway.key").read_bytes())
    await get_hold(await workshop.peer(server.address, directory=tmp_path))
    assert len(holds.calls) == 1


def test_a_missing_or_wrong_certificate_stops_the_start(tmp_path: Path, certificates: Path) -> None:
    with pytest.raises(StartRefused, match=r"ca\.crt"):
        MeshIdentity.load(tmp_path, "capacity")
    for name in ("ca.crt", "capacity.crt"):
        (tmp_path / name).write_bytes((certificates / name).read_bytes())
    (tmp_path / "capacity.key").write_bytes((certificates / "gateway.key").read_bytes())
    with pytest.raises(StartRefused, match="not the certificate's"):
        MeshIdentity.load(tmp_path, "capacity")
    for suffix in ("crt", "key"):
        (tmp_path / f"capacity.{suffix}").write_bytes((certificates / f"gateway.{suffix}").read_bytes())
    with pytest.raises(StartRefused, match="is not of"):
        MeshIdentity.load(tmp_path, "capacity")


def test_keys_are_for_their_owner_only(certificates: Path) -> None:
    for key in certificates.glob("*.key"):
        assert key.stat().st_mode & 0o077 == 0
