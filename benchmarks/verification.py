"""Whether an event's counters agree with what they count, by capacity's own verification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.results import WrongError
from holdfast.local import operator

if TYPE_CHECKING:
    from benchmarks.shows import Show
    from benchmarks.stack import Stack


def verify(stack: Stack, show: Show) -> int:
    """Give the version at which counters, holds, sales and journal agree. Raises WrongError with what differs."""
    address = stack.plan.grpc["capacity"]
    with operator.channel(stack.layout.identities, service="capacity", address=address) as channel:
        answer = operator.Operator(channel, organization_id=show.organization_id).verify(show.event_id)
    if not answer.consistent:
        differences = "; ".join(
            f"{each.counter} of {each.section_id or 'the event'}: stored {each.stored}, lines {each.from_lines},"
            f" journal {each.from_journal}"
            for each in answer.differences
        )
        raise WrongError(f"the inventory of {show.event_id} does not agree with itself: {differences}")
    return int(answer.inventory_version)
