"""One request is one trace, through every process that it touches."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from tests.support.mesh import key
from tests.support.show import create_show, wait_for_event

if TYPE_CHECKING:
    import httpx

    from tests.support.traces import ReceivedSpan, TraceReceiver

SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5


def test_one_trace_spans_gateway_capacity_pricing_database_message_and_consumer(
    traces: TraceReceiver, organizer: httpx.Client, buyer: httpx.Client
) -> None:
    show = create_show(organizer)
    # What gathered of an event is consumed together, its work in one of the traces: here the hold's own is wanted.
    there = organizer.get(f"/api/v1/events/{show.event_id}/availability").json()["availability"]
    wait_for_event(organizer, show.event_id, {"inventory_version": there["inventory_version"]})
    trace_id = secrets.token_hex(16)
    placed = buyer.post(
        f"/api/v1/capacity/{show.section_id}/reserve",
        json={"quantity": 1, "price_tier_id": show.price_tier_id},
        headers={"Idempotency-Key": key(), "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"},
    )
    assert placed.status_code == 201, placed.text

    def kinds(spans: list[ReceivedSpan]) -> set[tuple[str, int]]:
        return {(span.service, span.kind) for span in spans}

    wanted = {
        ("holdfast-gateway", SERVER),
        ("holdfast-gateway", CLIENT),
        ("holdfast-capacity", SERVER),
        ("holdfast-capacity", CLIENT),
        ("holdfast-pricing", SERVER),
        ("holdfast-capacity", PRODUCER),
        ("holdfast-events", CONSUMER),
    }

    def complete(spans: list[ReceivedSpan]) -> bool:
        databases = {
            span.service for span in spans if "db.system.name" in span.attributes or "db.system" in span.attributes
        }
        return wanted <= kinds(spans) and {"holdfast-capacity", "holdfast-pricing", "holdfast-events"} <= databases

    spans = traces.wait(trace_id, complete, seconds=30)
    listing = "\n".join(f"{s.service:20} {s.kind} {s.name} {s.attributes}" for s in spans)
    assert complete(spans), listing
    # Every span but the first hangs on another one of the same trace: nothing lost its parent on the way.
    ids = {span.span_id for span in spans}
    orphans = [span for span in spans if span.parent_span_id not in ids]
    assert [(span.service, span.kind) for span in orphans] == [("holdfast-gateway", SERVER)], listing
    consumer = next(span for span in spans if span.kind == CONSUMER and span.service == "holdfast-events")
    producer = next(span for span in spans if span.kind == PRODUCER)
    assert consumer.parent_span_id == producer.span_id, listing
