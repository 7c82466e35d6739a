"""PriceTierService: translate, call, translate."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from holdfast.api.common.v1 import pagination_pb2
from holdfast.api.pricing.v1 import price_tier_service_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.pagination import filters_of, page_size
from holdfast.common.protobuf import to_timestamp, updated_fields
from holdfast.pricing import convert
from holdfast.pricing.domain.terms import create_terms
from holdfast.pricing.operations import price_tiers
from holdfast.pricing.store.price_tiers import Listing, PageCursor

if TYPE_CHECKING:
    from holdfast.common.database import Database
    from holdfast.common.idempotency import RequestKey
    from holdfast.common.mesh_identity import Principal
    from holdfast.common.pagination import CursorValue, PageTokens
    from holdfast.common.rpc_server import Call
    from holdfast.pricing.domain.price_tiers import PriceTier
    from holdfast.pricing.domain.terms import TermsChange
    from holdfast.pricing.rpc.belonging import Belonging


def sees_visible_only(principal: Principal) -> bool:
    """Tell whether hidden tiers do not exist for a caller: for buyers, not for the organization's members."""
    return not (principal.can("pricing.write") or principal.can("events.read_private"))


class PriceTierServicer:
    """The named prices of events."""

    def __init__(self, *, database: Database, belonging: Belonging, page_tokens: PageTokens) -> None:
        self._database = database
        self._belonging = belonging
        self._page_tokens = page_tokens

    async def create_price_tier(
        self, request: price_tier_service_pb2.CreatePriceTierRequest, call: Call
    ) -> price_tier_service_pb2.CreatePriceTierResponse:
        """Add a price tier to an event."""
        key = call.request_key(request, "CreatePriceTier")
        terms = create_terms(convert.terms_change(request.price_tier))
        event_id = request.event_id.lower()
        tier = await self._replayed(key, call)
        if tier is None:
            await self._belonging.check_event(event_id, principal=call.principal)
            await self._belonging.check_parts(
                event_id, section_id=terms.section_id, schedule_id=terms.schedule_id, principal=call.principal
            )
            price_tier_id = new_id()
            author = price_tiers.Author(call.principal.subject, key)
            written = await self._database.run(
                lambda transaction: price_tiers.create_price_tier(
                    transaction,
                    price_tier_id=price_tier_id,
                    event_id=event_id,
                    terms=terms,
                    author=author,
                ),
                organization_id=call.organization_id,
                deadline=call.deadline,
            )
            tier = self._answer(written, call)
        return price_tier_service_pb2.CreatePriceTierResponse(price_tier=convert.price_tier(tier))

    async def get_price_tier(
        self, request: price_tier_service_pb2.GetPriceTierRequest, call: Call
    ) -> price_tier_service_pb2.GetPriceTierResponse:
        """Read a price tier."""
        only_visible = sees_visible_only(call.principal)
        tier, read_time = await self._database.run(
            lambda transaction: price_tiers.get_price_tier(
                transaction, request.price_tier_id.lower(), only_visible=only_visible
            ),
            organization_id=call.organization_id,
            deadline=call.deadline,
        )
        return price_tier_service_pb2.GetPriceTierResponse(
            price_tier=convert.price_tier(tier), server_time=to_timestamp(read_time)
        )

    async def list_price_tiers(
        self, request: price_tier_service_pb2.ListPriceTiersRequest, call: Call
    ) -> price_tier_service_pb2.ListPriceTiersResponse:
        """List an event's price tiers."""
        only_visible = sees_visible_only(call.principal)
        filters = filters_of(request, organization_id=call.organization_id) + bytes((only_visible,))
        after = _cursor(self._page_tokens.decode(request.page_token, filters))
        limit = page_size(request)
        listing = Listing(request.event_id.lower(), only_active=request.only_active, only_visible=only_visible)
        page = await self._database.run(
            lambda transaction: price_tiers.list_price_tiers(
                transaction,
                listing,
                after=after,
                limit=limit,
                with_total=request.with_total,
            ),
            organization_id=call.organization_id,
            deadline=call.deadline,
        )
        token = ""
        if page.more:
            last = page.price_tiers[-1]
            token = self._page_tokens.encode([last.terms.display_order, last.create_time.isoformat(), last.id], filters)
        return price_tier_service_pb2.ListPriceTiersResponse(
            price_tiers=[convert.price_tier(tier) for tier in page.price_tiers],
            pagination=pagination_pb2.Pagination(next_page_token=token, total=page.total),
            server_time=to_timestamp(page.read_time),
        )

    async def update_price_tier(
        self, request: price_tier_service_pb2.UpdatePriceTierRequest, call: Call
    ) -> price_tier_service_pb2.UpdatePriceTierResponse:
        """Change a price tier."""
        key = call.request_key(request, "UpdatePriceTier")
        mask = request.update_mask if request.HasField("update_mask") else None
        fields = updated_fields(request.price_tier, mask, resource_name="price_tier")
        change = convert.terms_change(request.price_tier, fields)
        price_tier_id = request.price_tier_id.lower()
        tier = await self._replayed(key, call)
        if tier is None:
            await self._check_new_parts(price_tier_id, change, call)
            author = price_tiers.Author(call.principal.subject, key)
            written = await self._database.run(
                lambda transaction: price_tiers.update_price_tier(
                    transaction,
                    price_tier_id=price_tier_id,
                    change=change,
                    etag=request.etag,
                    author=author,
                ),
                organization_id=call.organization_id,
                deadline=call.deadline,
            )
            tier = self._answer(written, call)
        return price_tier_service_pb2.UpdatePriceTierResponse(price_tier=convert.price_tier(tier))

    async def _replayed(self, key: RequestKey | None, call: Call) -> PriceTier | None:
        """Answer a repeated request before other services are asked: it must not fail because they do."""
        if key is None:
            return None
        tier = await self._database.run(
            lambda transaction: price_tiers.find_replayed(transaction, key),
            organization_id=call.organization_id,
            deadline=call.deadline,
        )
        if tier is not None:
            call.mark_replayed()
        return tier

    async def _check_new_parts(self, price_tier_id: str, change: TermsChange, call: Call) -> None:
        """Check the section and the date that a tier would have after a change of one of them."""
        if change.get("section_id") is None and change.get("schedule_id") is None:
            return
        tier, _ = await self._database.run(
            lambda transaction: price_tiers.get_price_tier(transaction, price_tier_id, only_visible=False),
            organization_id=call.organization_id,
            deadline=call.deadline,
        )
        await self._belonging.check_parts(
            tier.event_id,
            section_id=change.get("section_id", tier.terms.section_id),
            schedule_id=change.get("schedule_id", tier.terms.schedule_id),
            principal=call.principal,
        )

    @staticmethod
    def _answer(written: price_tiers.Written, call: Call) -> PriceTier:
        if written.replayed:
            call.mark_replayed()
        return written.price_tier


def _cursor(values: list[CursorValue] | None) -> PageCursor | None:
    match values:
        case None:
            return None
        case [int(display_order), str(create_time), str(price_tier_id)]:
            return PageCursor(
                display_order=display_order, create_time=datetime.fromisoformat(create_time), id=price_tier_id
            )
    raise DomainError(Reason.PAGE_TOKEN_INVALID, "this page token was not made for this list")
