"""The compiled codec against protobuf's own, for every message type of the API."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.api.capacity.v1 import hold_service_pb2
from holdfast.api.common.v1 import seating_config_pb2
from holdfast.api.events.v1 import event_pb2, event_service_pb2
from holdfast.api.pricing.v1 import locked_price_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.gateway.json_reader import JsonReader, Reading
from holdfast.gateway.json_text import parse_object
from holdfast.gateway.json_writer import JsonWriter
from holdfast.gateway.openapi_schemas import field_schema
from tests.support.little_contract import little_contract
from tests.unit.gateway.messages import any_message, message_types

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

READERS, WRITERS = JsonReader(), JsonWriter()
TYPES = message_types()


def read(body: bytes, into: Any) -> Any:
    reading = Reading()
    READERS.of(into.DESCRIPTOR)(parse_object(body), into, None, reading)
    reading.raise_faults()
    return into


def has_mask(message: Message) -> bool:
    """Protobuf's own JSON of a mask is lowerCamelCase; ours is the contract's names."""
    return any(
        field.message_type is not None
        and (field.message_type.full_name == "google.protobuf.FieldMask" or (not field.is_repeated and has_mask(value)))
        for field, value in message.ListFields()
    )


BYTES = """
message Chunk { bytes content = 1; repeated bytes parts = 2; optional bytes rest = 3; }
"""


def test_bytes_are_base64(tmp_path: Path) -> None:
    descriptor = little_contract("chunks", BYTES, tmp_path).message_types_by_name["Chunk"]
    chunk = GetMessageClass(descriptor)
    for content in (b"", b"\x00", b"\xfb\xff\xfe", bytes(range(256))):
        message = chunk(content=content, parts=[content, b"x"], rest=content)
        written = WRITERS.write(message)
        assert written == json_format.MessageToDict(message, preserving_proto_field_name=True) | {
            "content": written["content"]
        }
        assert read(orjson.dumps(written), chunk()) == message
    # Either alphabet, with or without padding: what clients' libraries make.
    for text in ("+/8=", "+/8", "-_8=", "-_8"):
        assert read(orjson.dumps({"content": text}), chunk()).content == b"\xfb\xff"
    for wrong in ("a", "a b=", "*", "ä", "=a", 5, ["YQ=="]):
        with pytest.raises(DomainError) as caught:
            read(orjson.dumps({"content": wrong}), chunk())
        assert caught.value.violations[0].field == "content"
        assert caught.value.violations[0].message == "must be base64 text"


def test_there_are_message_types() -> None:
    assert len(TYPES) > 100


@pytest.mark.parametrize("descriptor", TYPES, ids=lambda each: each.full_name.removeprefix("holdfast.api."))
def test_every_message_is_written_as_protobuf_writes_it_and_read_back(descriptor: Descriptor) -> None:
    make = GetMessageClass(descriptor)
    for seed in range(12):
        message = any_message(descriptor, random.Random(f"{descriptor.full_name}-{seed}"))  # noqa: S311 - repeatable, not secret
        written = WRITERS.write(message)
        assert read(orjson.dumps(written), make()) == message, seed
        if has_mask(message):
            continue
        assert written == json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        ), seed
        camel = json_format.MessageToJson(message)
        assert read(camel.encode(), make()) == message, f"lowerCamelCase is read too: {seed}"


PLACE = hold_service_pb2.PlaceHoldRequest
EVENT = event_pb2.Event
CREATE = event_service_pb2.CreateEventRequest

MALFORMED: list[tuple[str, bytes, str]] = [
    ("empty", b"", "empty"),
    ("blank", b" \n ", "empty"),
    ("truncated", b'{"quantity": 1', "not valid JSON at line 1"),
    ("duplicate keys", b'{"quantity": 1, "quantity": 2}', "more than once"),
    ("duplicate keys below", b'{"lines": [{"quantity": 1, "quantity": 2}]}', "more than once"),
    ("array at root", b"[]", "object is needed"),
    ("text at root", b'"x"', "object is needed"),
    ("null at root", b"null", "object is needed"),
    ("NaN", b'{"quantity": NaN}', "NaN is not a number"),
    ("Infinity", b'{"quantity": -Infinity}', "Infinity is not a number"),
    ("too many digits", b'{"quantity": ' + b"9" * 5000 + b"}", "too many digits"),
    ("deep arrays", b'{"lines": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "64 levels"),
    ("deep objects", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "64 levels"),
    ("deep and never closed", b"[" * 100_000, "64 levels"),
    ("65 levels", b'{"lines": ' + b"[" * 64 + b"]" * 64 + b"}", "64 levels"),
    ("unbalanced", b'{"lines": [}', "not valid JSON"),
    ("control character", b'{"order_reference": "a\x01"}', "not valid JSON"),
    ("raw NUL", b'{"order_reference": "a\x00"}', "not valid JSON"),
    ("invalid UTF-8", b'{"order_reference": "\xff"}', "UTF-8"),
    ("surrogate as UTF-8", b'{"order_reference": "\xed\xa0\x80"}', "UTF-8"),
    ("trailing comma", b'{"quantity": 1,}', "not valid JSON"),
    ("two documents", b"{}{}", "not valid JSON"),
    ("byte order mark", b"\xef\xbb\xbf{}", "not valid JSON"),
]


@pytest.mark.parametrize(("body", "message"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_a_body_that_is_not_one_json_object_is_malformed(body: bytes, message: str) -> None:
    with pytest.raises(DomainError) as caught:
        read(body, PLACE())
    assert caught.value.reason is Reason.MALFORMED_BODY
    assert message in caught.value.message
    assert len(caught.value.violations) == 1


INVALID: list[tuple[str, Any, bytes, str, str]] = [
    ("unknown field", PLACE, b'{"quantitty": 1}', "quantitty", "is not a field"),
    ("former name", PLACE, b'{"pricing_id": "x"}', "pricing_id", "pricing_id is called price_tier_id"),
    ("former name of a minute", PLACE, b'{"reservation_minutes": 5}', "reservation_minutes", "called hold_ttl_seconds"),
    ("unknown below", PLACE, b'{"lines": [{}, {"row": 1}]}', "lines[1].row", "is not a field"),
    ("twice by both names", PLACE, b'{"price_tier_id": "a", "priceTierId": "b"}', "price_tier_id", "given twice"),
    ("text with a tail", PLACE, b'{"quantity": "1x"}', "quantity", "whole number"),
    ("text with a space", PLACE, b'{"quantity": " 1"}', "quantity", "whole number"),
    ("empty text", PLACE, b'{"quantity": ""}', "quantity", "whole number"),
    ("plus sign", PLACE, b'{"quantity": "+1"}', "quantity", "whole number"),
    ("fraction", PLACE, b'{"quantity": 1.5}', "quantity", "whole number"),
    ("true", PLACE, b'{"quantity": true}', "quantity", "whole number"),
    ("array", PLACE, b'{"quantity": [1]}', "quantity", "whole number"),
    ("2^31", PLACE, b'{"quantity": 2147483648}', "quantity", "from -2147483648 to 2147483647"),
    ("2^63", PLACE, b'{"quantity": 9223372036854775808}', "quantity", "from -2147483648"),
    ("2^63 as text", PLACE, b'{"quantity": "9223372036854775808"}', "quantity", "from -2147483648"),
    ("1e300", PLACE, b'{"quantity": 1e300}', "quantity", "whole number"),
    ("1e400", PLACE, b'{"quantity": 1e400}', "quantity", "whole number"),
    ("free form 1e400", EVENT, b'{"settings": {"a": [-1e400]}}', "settings", "too large"),
    ("number for text", PLACE, b'{"customer_id": 5}', "customer_id", "must be a string"),
    ("object for text", PLACE, b'{"customer_id": {}}', "customer_id", "must be a string"),
    ("NUL", PLACE, b'{"customer_id": "a\\u0000"}', "customer_id", "NUL"),
    ("lone surrogate", PLACE, b'{"customer_id": "\\ud800"}', "customer_id", "surrogate"),
    ("text for array", PLACE, b'{"lines": "x"}', "lines", "must be an array"),
    ("null in array", PLACE, b'{"lines": [null]}', "lines[0]", "must be an object"),
    ("null in strings", EVENT, b'{"tags": [null]}', "tags[0]", "must be a string"),
    ("text for object", CREATE, b'{"event": "x"}', "event", "must be an object"),
    ("text for bool", EVENT, b'{"is_featured": "true"}', "is_featured", "true or false"),
    ("number for bool", EVENT, b'{"is_featured": 1}', "is_featured", "true or false"),
    ("unknown enum name", EVENT, b'{"kind": "TRIPLE"}', "kind", "must be one of SINGLE, RECURRING, SERIES"),
    ("unknown enum number", EVENT, b'{"kind": 77}', "kind", "must be one of"),
    ("true for enum", EVENT, b'{"kind": true}', "kind", "must be one of"),
    ("time without offset", EVENT, b'{"starts_at": "2026-07-01T19:00:00"}', "starts_at", "with an offset"),
    ("date only", EVENT, b'{"starts_at": "2026-07-01"}', "starts_at", "with an offset"),
    ("30 February", EVENT, b'{"starts_at": "2026-02-30T19:00:00Z"}', "starts_at", "is not a time that exists"),
    ("hour 24", EVENT, b'{"starts_at": "2026-02-03T24:00:00Z"}', "starts_at", "is not a time that exists"),
    ("offset +25:00", EVENT, b'{"starts_at": "2026-02-03T20:00:00+25:00"}', "starts_at", "is not a time that exists"),
    ("year 0", EVENT, b'{"starts_at": "0000-02-03T20:00:00Z"}', "starts_at", "is not a time that exists"),
    ("before year 1", EVENT, b'{"starts_at": "0001-01-01T00:00:00+01:00"}', "starts_at", "is not a time that exists"),
    ("other digits", EVENT, '{"starts_at": "٢026-02-03T20:00:00Z"}'.encode(), "starts_at", "with an offset"),
    ("number for time", EVENT, b'{"starts_at": 5}', "starts_at", "with an offset"),
    ("free form array", EVENT, b'{"settings": []}', "settings", "must be an object"),
    ("free form big integer", EVENT, b'{"settings": {"a": [9007199254740993]}}', "settings", "2^53"),
    ("free form NUL", EVENT, b'{"settings": {"a\\u0000": 1}}', "settings", "NUL"),
    ("name with a surrogate", PLACE, b'{"\\ud800": 1}', "\\ud800", "is not a field"),
]


@pytest.mark.parametrize(
    ("make", "body", "field", "message"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID]
)
def test_a_value_that_its_field_cannot_take_is_named(make: Any, body: bytes, field: str, message: str) -> None:
    with pytest.raises(DomainError) as caught:
        read(body, make())
    assert caught.value.reason is Reason.VALIDATION_FAILED
    assert [violation.field for violation in caught.value.violations] == [field]
    assert message in caught.value.violations[0].message
    orjson.dumps(caught.value.message)  # can be told at all


def test_all_faults_are_listed_up_to_twenty() -> None:
    body = orjson.dumps({"lines": [{"quantity": "x", "row": 1}] * 30})
    with pytest.raises(DomainError) as caught:
        read(body, PLACE())
    fields = [violation.field for violation in caught.value.violations]
    assert fields[:3] == ["lines[0].quantity", "lines[0].row", "lines[1].quantity"]
    assert len(fields) == 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12", 12), (12, 12), (12.0, 12), ("-5", -5), (1e3, 1000), (-0.0, 0)],
)
def test_whole_numbers_are_read_in_every_spelling_json_has_for_them(text: Any, expected: int) -> None:
    assert read(json.dumps({"quantity": text}).encode(), PLACE()).quantity == expected


def price_of(number: str) -> str:
    body = f'{{"sections": [{{"name": "A", "price": {number}}}]}}'.encode()
    return str(read(body, seating_config_pb2.SeatingConfig()).sections[0].price)


@pytest.mark.parametrize(
    ("number", "price"),
    [
        ("2000", "2000"),
        ("48.50", "48.50"),  # with the digits that were written, not those of a double
        ("0.1", "0.1"),
        ("999999999999999.9999", "999999999999999.9999"),  # a double would say 1000000000000000.0
        ("-1", "-1"),  # the contract refuses it, not the codec
        ('"48.50"', "48.50"),
    ],
)
def test_a_price_may_be_a_number_and_keeps_its_digits(number: str, price: str) -> None:
    assert price_of(number) == price


@pytest.mark.parametrize("number", ["1e3", "1.5e0", "1E400", "true", "[1]", "{}"])
def test_a_price_in_another_form_is_refused(number: str) -> None:
    with pytest.raises(DomainError) as caught:
        price_of(number)
    assert caught.value.reason is Reason.VALIDATION_FAILED
    assert [violation.field for violation in caught.value.violations] == ["sections[0].price"]


def test_the_schema_says_that_a_price_may_be_a_number() -> None:
    price = field_schema(seating_config_pb2.SeatingSection.DESCRIPTOR.fields_by_name["price"])
    assert price["type"] == ["string", "number"]


def test_a_fraction_in_a_free_form_object_is_the_number_it_was() -> None:
    assert read(b'{"settings": {"ratio": 0.25, "list": [1.5e2]}}', EVENT()).settings == {"ratio": 0.25, "list": [150.0]}


def test_null_is_absence() -> None:
    assert read(b'{"quantity": null, "lines": null}', PLACE()) == PLACE()


def test_members_of_a_oneof_exclude_each_other() -> None:
    outcome = b'{"lock": {}, "refusal": {}}'
    from holdfast.api.pricing.v1 import quote_service_pb2  # noqa: PLC0415 - the only oneof of several members

    with pytest.raises(DomainError) as caught:
        read(outcome, quote_service_pb2.LockPriceOutcome())
    assert caught.value.violations[0].message == "cannot be combined with lock"


def test_a_number_without_a_name_is_written_as_a_number() -> None:
    step = locked_price_pb2.PriceStep()
    step.ParseFromString(b"\x08\x63")  # kind = 99, as a newer service might say
    assert WRITERS.write(step)["kind"] == 99


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None, database=None)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    assert outcome(lambda: parse_object(body)) in {None, Reason.MALFORMED_BODY}


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
@settings(max_examples=100, deadline=None, database=None)
def test_any_object_is_read_or_refused(value: Any) -> None:
    body = json.dumps({"lines": value, "quantity": value, "customer_id": value}).encode()
    assert outcome(lambda: read(body, PLACE())) in {None, Reason.VALIDATION_FAILED, Reason.MALFORMED_BODY}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(['"a"', '"b"', '"\\u0061"', '"a:b"', '"{"', '"["']),
            st.sampled_from(
                ["1", "-0", "1.50", "1e400", "9" * 30, "null", "true", '"x:y"', '"[{"', "{}", "[1]", "NaN"]
            ),
        ),
        max_size=4,
    )
)
@settings(max_examples=300, deadline=None, database=None)
def test_a_body_read_the_short_way_says_what_it_says_the_long_way(pairs: list[tuple[str, str]]) -> None:
    members = ", ".join(f"{key} : {value}" for key, value in pairs)
    short = understood(f"{{{members}}}")
    nested = understood(f'{{"in": {{{members}}}}}')  # an object within an object is read the long way
    assert short == (nested["in"] if isinstance(nested, dict) else nested)


def understood(body: str) -> object:
    """Give what a body says, or why it is refused."""
    try:
        return parse_object(body.encode())
    except DomainError as error:
        return error.message


def outcome(attempt: Callable[[], object]) -> Reason | None:
    try:
        attempt()
    except DomainError as error:
        return error.reason
    return None
