"""Proto ⇄ domain of availability, pure: the journal's rows as steps, and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import availability_pb2, hold_pb2, messages_pb2, section_pb2
from holdfast.api.common.v1 import error_reason_pb2
from holdfast.api.events.v1 import event_pb2
from holdfast.capacity.domain.availability import SectionStep, Step, microseconds
from holdfast.capacity.domain.claims import SECOND, Claim
from holdfast.capacity.domain.sections import Counters
from holdfast.common.protobuf import to_datetime, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from google.protobuf.timestamp_pb2 import Timestamp

    from holdfast.capacity.domain.availability import Availability, SectionAvailability
    from holdfast.capacity.domain.refusals import Refusal

    _Places = messages_pb2.LineAmount | messages_pb2.SectionPlaces

_STATE: Final = hold_pb2.Hold.State
_LIVE: Final = frozenset({_STATE.ACTIVE, _STATE.PENDING})


def step_of(message: messages_pb2.InventoryChanged) -> Step:
    """Read a row of the journal as availability follows it."""
    added: list[tuple[str, Claim]] = []
    taken: list[tuple[str, Claim]] = []
    for hold in message.holds:
        voided = 0 < hold.void_version < message.version
        places: Iterable[_Places] = hold.lines
        if hold.state in _LIVE:
            added += _claims(hold.state, hold.expire_time, places)
        if hold.HasField("before"):
            before = hold.before
            taken += _claims(before.state, before.expire_time, before.places or places, voided=voided)
    return Step(
        version=message.version,
        at=to_datetime(message.occur_time, field="occur_time"),
        controls_version=message.controls_version,
        sections=tuple(
            SectionStep(
                section_id=each.section_id,
                counters=Counters(
                    total=each.total, held=each.held, pending=each.pending, sold=each.sold, blocked=each.blocked
                ),
                active=each.active,
                revision=each.revision,
                deleted=each.deleted,
            )
            for each in message.sections
        ),
        added=tuple(added),
        taken=tuple(taken),
        ended_blocks=tuple(block.block_id for block in message.blocks if block.ended),
        opaque=message.repaired,
    )


def _claims(
    state: hold_pb2.Hold.State.ValueType, expire_time: Timestamp, places: Iterable[_Places], *, voided: bool = False
) -> list[tuple[str, Claim]]:
    pending = state == _STATE.PENDING
    expire_us = expire_time.seconds * SECOND + expire_time.nanos // 1000
    return [
        (
            each.section_id,
            Claim(pending=pending, expire_us=expire_us, quantity=each.quantity, block_id=each.block_id, voided=voided),
        )
        for each in places
    ]


def availability_message(  # noqa: PLR0913 (who asks, and for what)
    event_id: str,
    found: Availability,
    *,
    at: datetime,
    newest_at: datetime,
    hidden: bool,
    sections: Sequence[SectionAvailability] | None = None,
) -> availability_pb2.Availability:
    """Give an answer; `at` is now, `newest_at` until when its version is known to have been the newest.

    With all sections, or with some of them.
    """
    return availability_pb2.Availability(
        event_id=event_id,
        state=event_pb2.Event.State.Value(found.state.value),
        sales_allowed=found.sales_allowed,
        sections=[_section_message(each) for each in (found.sections if sections is None else sections)],
        total=found.total,
        available=found.available,
        inventory_version=found.version,
        age_milliseconds=max(0, microseconds(at) - microseconds(newest_at)) // 1000,
        server_time=to_timestamp(at),
        next_change_time=None if found.next_change_time is None else to_timestamp(found.next_change_time),
        etag=etag_of(found, hidden=hidden),
    )


def etag_of(found: Availability, *, hidden: bool) -> str:
    """Give the version, what the clock changed since, and whether all sections are shown."""
    clock = f".{found.clock_version:x}" if found.clock_version else ""
    return f"{found.version}{clock}{'+' if hidden else ''}"


def refusal_message(refusal: Refusal) -> availability_pb2.AvailabilityRefusal:
    """Give a refusal as an answer."""
    error = refusal.error
    return availability_pb2.AvailabilityRefusal(
        reason=error_reason_pb2.Error.Reason.Value(error.reason.value),
        detail=str(error),
        metadata=error.metadata,
        change=availability_pb2.AvailabilityRefusal.Change.Value(refusal.change.value),
        next_change_time=None if refusal.time is None else to_timestamp(refusal.time),
    )


def _section_message(shown: SectionAvailability) -> availability_pb2.SectionAvailability:
    section, counters = shown.section, shown.counters
    return availability_pb2.SectionAvailability(
        section_id=section.section_id,
        name=section.name,
        subsection=section.subsection or 0,
        schedule_id=section.schedule_id or "",
        kind=section_pb2.Section.Kind.Value(section.kind.value),
        total=counters.total,
        available=counters.available,
        held=counters.held,
        pending=counters.pending,
        sold=counters.sold,
        blocked=counters.blocked,
        active=section.active,
    )
