"""What the gateway's JSON costs a message, beside json_format: `.venv/bin/python -m benchmarks.json_codec`.

Each line is the best of interleaved rounds: other work on the machine only ever adds time.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import orjson
from google.protobuf import json_format

from holdfast.api.capacity.v1 import hold_pb2, hold_service_pb2
from holdfast.api.pricing.v1 import locked_price_pb2
from holdfast.gateway.json_reader import JsonReader, Reading
from holdfast.gateway.json_text import parse_object
from holdfast.gateway.json_writer import JsonWriter

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 15
CALLS = 1000
ID = "0198f000-0000-7000-8000-000000000001"
BODY = orjson.dumps(
    {"quantity": 2, "price_tier_id": ID, "hold_ttl_seconds": 300, "customer_id": "c-1", "order_reference": "o-1"}
)
KINDS = (
    locked_price_pb2.PriceStep.BASE_PRICE,
    locked_price_pb2.PriceStep.SERVICE_FEE,
    locked_price_pb2.PriceStep.FACILITY_FEE,
    locked_price_pb2.PriceStep.TAX,
)
AMOUNTS = ("unit_price", "base", "discount", "service_fee", "facility_fee", "subtotal", "tax", "total", "per_ticket")


def placed(*, priced: bool) -> hold_service_pb2.PlaceHoldResponse:
    """Give an answer of PlaceHold with one line."""
    hold = hold_pb2.Hold(
        id=ID, organization_id=ID, event_id=ID, customer_id="c-1", placed_by="c-1", state=hold_pb2.Hold.ACTIVE, etag="1"
    )
    hold.create_time.FromMicroseconds(1_790_000_000_123_456)
    hold.expire_time.FromMicroseconds(1_790_000_900_123_456)
    line = hold.lines.add(number=1, section_id=ID, quantity=2)
    if priced:
        price = line.locked_price
        price.price_tier_id, price.price_tier_version, price.price_tier_name = ID, 1, "Standard"
        price.lock_time.FromSeconds(1_790_000_000)
        for name in AMOUNTS:
            amount = getattr(price.breakdown, name)
            amount.currency_code, amount.amount = "USD", "248.40"
        for kind in KINDS:
            price.breakdown.steps.add(kind=kind, detail="").amount.amount = "1.00"
        hold.total.currency_code, hold.total.amount = "USD", "248.40"
    response = hold_service_pb2.PlaceHoldResponse(hold=hold, inventory_version=912)
    response.server_time.FromSeconds(1_790_000_000)
    return response


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Give what is compared: ours and json_format's, after checking that both say the same."""
    read, write = JsonReader().of(hold_service_pb2.PlaceHoldRequest.DESCRIPTOR), JsonWriter()

    def ours() -> object:
        message, reading = hold_service_pb2.PlaceHoldRequest(), Reading()
        read(parse_object(BODY), message, None, reading)
        reading.raise_faults()
        return message

    def theirs() -> object:
        return json_format.Parse(BODY, hold_service_pb2.PlaceHoldRequest())

    if ours() != theirs():
        raise AssertionError("the readers differ")
    result: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {"request": (ours, theirs)}
    for name, message in (("response", placed(priced=False)), ("response, priced", placed(priced=True))):

        def out(message: hold_service_pb2.PlaceHoldResponse = message) -> bytes:
            return orjson.dumps(write.write(message))

        def other(message: hold_service_pb2.PlaceHoldResponse = message) -> str:
            return json_format.MessageToJson(
                message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )

        if json.loads(out()) != json.loads(other()):
            raise AssertionError("the writers differ")
        result[name] = (out, other)
    return result


def main() -> None:
    """Print microseconds a message."""
    compared = cases()
    best: dict[tuple[str, int], float] = {}
    for _ in range(ROUNDS):
        for name, pair in compared.items():
            for which, function in enumerate(pair):
                started = time.perf_counter()
                for _ in range(CALLS if which == 0 else CALLS // 5):
                    function()
                took = (time.perf_counter() - started) / (CALLS if which == 0 else CALLS // 5)
                best[name, which] = min(best.get((name, which), took), took)
    print(f"{'PlaceHold':18} {'ours':>8} {'json_format':>12}  µs")
    for name in compared:
        print(f"{name:18} {best[name, 0] * 1e6:8.1f} {best[name, 1] * 1e6:12.1f}")


if __name__ == "__main__":
    main()
