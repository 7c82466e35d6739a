"""The same slice over the gRPC stubs, as another service of the platform uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from holdfast.api.capacity.v1 import hold_pb2, hold_service_pb2, hold_service_pb2_grpc, section_service_pb2
from holdfast.api.capacity.v1.section_service_pb2_grpc import SectionServiceStub
from holdfast.api.common.v1 import money_pb2, principal_pb2
from holdfast.api.pricing.v1 import quote_service_pb2, quote_service_pb2_grpc
from tests.support.mesh import key
from tests.support.show import create_show

if TYPE_CHECKING:
    import httpx

    from tests.support.mesh import Mesh

DEADLINE_SECONDS = 10


def metadata(organization_id: str, subject: str = "service:orders") -> tuple[tuple[str, bytes], ...]:
    """Return the metadata that says on whose behalf a service calls."""
    principal = principal_pb2.Principal(subject=subject, organization_id=organization_id, roles=["service"])
    return (("holdfast-principal-bin", principal.SerializeToString()),)


def reason_of(error: grpc.RpcError) -> str:
    """Return the reason that an RPC error carries."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "holdfast"
    return str(info.reason)


def call(method: Any, request: Any, organization_id: str) -> Any:
    """Call with deadline and principal."""
    return method(request, timeout=DEADLINE_SECONDS, metadata=metadata(organization_id))


def test_a_service_places_reads_confirms_and_releases_for_a_customer(mesh: Mesh, organizer: httpx.Client) -> None:
    show = create_show(organizer, total=10)
    with mesh.channel("capacity", certificate="orders") as channel:
        holds = hold_service_pb2_grpc.HoldServiceStub(channel)
        request = hold_service_pb2.PlaceHoldRequest(
            event_id=show.event_id,
            lines=[
                hold_service_pb2.HoldLineSelector(
                    section_id=show.section_id, quantity=2, price_tier_id=show.price_tier_id
                )
            ],
            customer_id="carla",
            request_id=key(),
        )
        placed = call(holds.PlaceHold, request, show.organization_id)
        assert placed.hold.state == hold_pb2.Hold.ACTIVE
        assert (placed.hold.customer_id, placed.hold.placed_by) == ("carla", "service:orders")
        assert placed.hold.total == money_pb2.Money(currency_code="USD", amount="248.40")
        assert placed.hold.expire_time.seconds - placed.hold.create_time.seconds == 900
        replay = call(holds.PlaceHold, request, show.organization_id)
        assert replay.hold == placed.hold

        read = call(holds.GetHold, hold_service_pb2.GetHoldRequest(hold_id=placed.hold.id), show.organization_id)
        assert read.hold == placed.hold
        confirmed = call(
            holds.ConfirmHold,
            hold_service_pb2.ConfirmHoldRequest(hold_id=placed.hold.id, expected_total=placed.hold.total),
            show.organization_id,
        )
        assert confirmed.hold.state == hold_pb2.Hold.CONFIRMED
        assert confirmed.sale.state == hold_pb2.Sale.SOLD
        assert confirmed.sale.total == placed.hold.total

        other = call(
            holds.PlaceHold,
            hold_service_pb2.PlaceHoldRequest(section_id=show.section_id, quantity=1, request_id=key()),
            show.organization_id,
        )
        released = call(
            holds.ReleaseHold, hold_service_pb2.ReleaseHoldRequest(hold_id=other.hold.id), show.organization_id
        )
        assert released.hold.state == hold_pb2.Hold.RELEASED
        with pytest.raises(grpc.RpcError) as caught:
            call(holds.ReleaseHold, hold_service_pb2.ReleaseHoldRequest(hold_id=placed.hold.id), show.organization_id)
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert reason_of(caught.value) == "HOLD_NOT_ACTIVE"

        sections = SectionServiceStub(channel)
        answer = call(
            sections.GetSection, section_service_pb2.GetSectionRequest(section_id=show.section_id), show.organization_id
        )
        assert (answer.section.available, answer.section.held, answer.section.sold) == (8, 0, 2)


def test_a_peer_without_a_certificate_is_refused(mesh: Mesh) -> None:
    address = mesh.status()["grpc"]["capacity"]
    authority = (mesh.certificate("orders") / "ca.crt").read_bytes()
    options = [("grpc.ssl_target_name_override", "capacity.holdfast.internal")]
    with (
        grpc.secure_channel(address, grpc.ssl_channel_credentials(authority), options) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        hold_service_pb2_grpc.HoldServiceStub(channel).GetHold(
            hold_service_pb2.GetHoldRequest(hold_id="019a9b1e-0000-7000-8000-000000000000"), timeout=5
        )
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_peer_with_the_wrong_services_certificate_is_refused(mesh: Mesh, organizer: httpx.Client) -> None:
    show = create_show(organizer, on_sale=False)
    line = quote_service_pb2.LockPriceLine(
        price_tier_id=show.price_tier_id,
        organization_id=show.organization_id,
        event_id=show.event_id,
        section_id=show.section_id,
        quantity=1,
    )
    with mesh.channel("pricing", certificate="orders") as channel:
        quotes = quote_service_pb2_grpc.QuoteServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            call(quotes.LockPrices, quote_service_pb2.LockPricesRequest(lines=[line]), show.organization_id)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert reason_of(caught.value) == "CALLER_NOT_ALLOWED"


def test_a_server_with_the_wrong_name_is_refused_by_the_client(mesh: Mesh) -> None:
    directory = mesh.certificate("orders")
    credentials = grpc.ssl_channel_credentials(
        (directory / "ca.crt").read_bytes(),
        (directory / "orders.key").read_bytes(),
        (directory / "orders.crt").read_bytes(),
    )
    options = [("grpc.ssl_target_name_override", "capacity.holdfast.internal")]
    with (
        grpc.secure_channel(mesh.status()["grpc"]["pricing"], credentials, options) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        hold_service_pb2_grpc.HoldServiceStub(channel).GetHold(
            hold_service_pb2.GetHoldRequest(hold_id="019a9b1e-0000-7000-8000-000000000000"), timeout=5
        )
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
