"""Whether an event's counters agree with what they count: capacity's own verification, and the rows added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from benchmarks.results import WrongError
from holdfast.local import operator

if TYPE_CHECKING:
    from benchmarks.shows import Show
    from benchmarks.stack import Stack


RECOUNT = """
SELECT inventory.version, inventory.held, sections.held, live.places, inventory.live_holds, live.holds
FROM capacity.event_inventories AS inventory
CROSS JOIN LATERAL (
  SELECT sum(held) AS held FROM capacity.sections WHERE event_id = inventory.event_id) AS sections
CROSS JOIN LATERAL (
  SELECT count(DISTINCT hold.id) AS holds, coalesce(sum(line.quantity), 0) AS places
  FROM capacity.holds AS hold JOIN capacity.hold_lines AS line ON line.hold_id = hold.id
  WHERE hold.event_id = inventory.event_id AND hold.state = 'ACTIVE') AS live
WHERE inventory.event_id = %s"""


def recount(stack: Stack, show: Show) -> int:
    """Give the version at which the held places of event, sections and lines agree. Raises WrongError."""
    with psycopg.connect(stack.plan.dsns["admin"], autocommit=True) as connection:
        row = connection.execute(RECOUNT, (show.event_id,)).fetchone()
    if row is None:
        raise WrongError(f"the inventory of {show.event_id} is gone")
    version, *counted = row
    of_event, of_sections, of_lines, live, holds = counted
    if not of_event == of_sections == of_lines or live != holds:
        raise WrongError(f"the rows of {show.event_id} do not agree: {counted}")
    return int(version)


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
