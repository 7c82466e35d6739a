"""Lines that requests ask for: reading them, and asking for their prices."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.api.pricing.v1 import quote_service_pb2
from holdfast.capacity.convert_seating import wish_of
from holdfast.capacity.domain.placing import LineRequest
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.api.capacity.v1 import hold_service_pb2 as pb
    from holdfast.api.capacity.v1 import seat_pb2, section_service_pb2
    from holdfast.capacity.domain.placing import PriceLock
    from holdfast.capacity.rpc.events_of import EventsOf, Place
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.rpc_call import Call


def line_of(
    wanted: pb.PlaceHoldRequest | pb.HoldLineSelector | section_service_pb2.ExplainAvailabilityRequest, *, field: str
) -> LineRequest:
    """Read a line."""
    labels = tuple(wanted.seats.labels) if wanted.HasField("seats") else ()
    line = LineRequest(
        section_id=wanted.section_id,
        schedule_id=wanted.schedule_id or None,
        quantity=len(labels) or wanted.quantity,
        tier_id=wanted.price_tier_id or None,
        field=field,
        labels=labels,
        block_id=wanted.block_id or None,
    )
    return with_best(line, wanted.best_available) if wanted.HasField("best_available") else line


def with_best(line: LineRequest, best: seat_pb2.BestAvailable) -> LineRequest:
    """Give a line as one whose seats are chosen, of its section or of those that it may fall back on."""
    chosen = replace(line, quantity=best.quantity, wish=wish_of(best))
    fallbacks = tuple(replace(chosen, section_id=section_id) for section_id in best.fallback_section_ids)
    return replace(chosen, fallbacks=fallbacks) if fallbacks else chosen


def section_ids(lines: Iterable[LineRequest]) -> list[str]:
    """Give the sections of lines, and those that they may fall back on."""
    return [each.section_id for line in lines for each in (line, *line.fallbacks)]


def lines_of(selectors: Iterable[pb.HoldLineSelector], *, field: str) -> tuple[LineRequest, ...]:
    """Read lines of a repeated field."""
    return tuple(line_of(each, field=f"{field}[{index}]") for index, each in enumerate(selectors))


def check_blocks(lines: Iterable[LineRequest], call: Call) -> None:
    """Raise PERMISSION_MISSING when a caller wants places of a block and may not have them."""
    if any(line.block_id is not None for line in lines) and not call.principal.can("holds.manage"):
        raise permission_missing("only staff and services hold from a block")


def check_own_sections(lines: Iterable[LineRequest]) -> None:
    """Raise VALIDATION_FAILED when a line names sections to fall back on where it has to be for its own."""
    for line in lines:
        if line.fallbacks:
            raise invalid(line.path("best_available.fallback_section_ids"), "are not for exchanges")


def permission_missing(message: str) -> DomainError:
    """Give the error of a caller who asks for what takes managing holds."""
    return DomainError(Reason.PERMISSION_MISSING, message, metadata={"permission": "holds.manage"})


def one_event(event_id: str, places: Sequence[Place]) -> str:
    """Give the event of all lines, which is also the one named, if one is; LINES_SPAN_EVENTS."""
    events = sorted({found for found, _ in places} | ({event_id} if event_id else set()))
    if len(events) > 1:
        raise DomainError(
            Reason.LINES_SPAN_EVENTS,
            "the lines belong to sections of more than one event",
            metadata={"event_ids": ",".join(events)},
        )
    return events[0]


async def lock_prices(  # noqa: PLR0913 (what is asked, and of whom)
    front: Front,
    events: EventsOf,
    call: Call,
    event_id: str,
    lines: Sequence[LineRequest],
    *,
    fresh: bool,
    others: Sequence[quote_service_pb2.LockPriceLine] = (),
) -> tuple[tuple[LineRequest, ...], list[PriceLock]]:
    """Ask pricing, for the dates that lines will be for: a tier may be for one date only. Also for `others`, as given.

    Dates are those of `dated_lines`. Of the sections that a line may fall back on those stay that its tier applies to.
    """
    dated = await dated_lines(events, call, event_id, lines, fresh=fresh)
    priced = [(index, line) for index, line in enumerate(dated) if line.tier_id is not None]
    asked = [price_line(call, event_id, line) for _, line in priced]
    locks = await front.outside.lock_prices(call.organization_id, [*asked, *others])
    for (index, line), lock in zip(priced, locks, strict=False):
        fallbacks = await _lock_fallbacks(front, call, event_id, line) if line.fallbacks else ()
        dated[index] = replace(line, lock=lock, fallbacks=fallbacks)
    return tuple(dated), locks[len(priced) :]


async def dated_lines(
    events: EventsOf, call: Call, event_id: str, lines: Sequence[LineRequest], *, fresh: bool
) -> list[LineRequest]:
    """Say for which dates the lines that have a tier will be.

    A date that the request does not name is assumed here; whether it is the one is checked under the lock. A `fresh`
    one is not taken from memory.
    """
    places = await events.sections(call, [line.section_id for line in lines])
    dated = list(lines)
    for index, (line, (_, of_section)) in enumerate(zip(lines, places, strict=True)):
        if line.tier_id is not None and line.schedule_id is None:
            date = of_section
            if date is None:
                date = await events.default_schedule(call, event_id, field=line.path("schedule_id"), fresh=fresh)
            dated[index] = replace(line, schedule_id=date, assumed=of_section is None)
    return dated


async def _lock_fallbacks(front: Front, call: Call, event_id: str, line: LineRequest) -> tuple[LineRequest, ...]:
    """Lock a line's price for the sections that it may fall back on; those stay that its tier applies to."""
    asked = [replace(each, schedule_id=line.schedule_id, assumed=line.assumed) for each in line.fallbacks]
    answers = await asyncio.gather(
        *(front.outside.lock_prices(call.organization_id, [price_line(call, event_id, each)]) for each in asked),
        return_exceptions=True,
    )
    able = []
    for each, answer in zip(asked, answers, strict=True):
        if not isinstance(answer, BaseException):
            able.append(replace(each, lock=answer[0]))
        elif not isinstance(answer, DomainError) or answer.reason is not Reason.PRICE_TIER_NOT_APPLICABLE:
            raise answer
    return tuple(able)


def price_line(call: Call, event_id: str, line: LineRequest) -> quote_service_pb2.LockPriceLine:
    """Ask what a line with a tier and its date costs now."""
    return quote_service_pb2.LockPriceLine(
        price_tier_id=line.tier_id or "",
        organization_id=call.organization_id,
        event_id=event_id,
        section_id=line.section_id,
        schedule_id=line.schedule_id or "",
        quantity=line.quantity,
    )
