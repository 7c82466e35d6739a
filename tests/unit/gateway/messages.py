"""Messages of every type of the API, filled at random from a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from holdfast.common.contracts import contract_services
from holdfast.gateway.json_reader import is_map

if TYPE_CHECKING:
    import random

    from google.protobuf.descriptor import Descriptor

TEXTS = ("", "x", "O'Brien", 'say "hi" \\', "Zoë 🎫 \u2028", "{}[]\n\t\x01\x7f", "a" * 300)
SECONDS_MIN, SECONDS_MAX = -62_135_596_800, 253_402_300_799
NANOS = (0, 1, 999_999_999, 500_000_000, 123_000_000, 123_456_000, 123_456_789)
NUMBERS = (0, -1, 1, 0.5, -1.25e-9, 2**53, 2**64, 1e300, 123456)
INTEGERS = {FieldDescriptor.TYPE_INT32: 31, FieldDescriptor.TYPE_INT64: 63}


def message_types() -> list[Descriptor]:
    """Give every message that a bound RPC takes or gives, and all inside them."""
    found: dict[str, Descriptor] = {}

    def add(descriptor: Descriptor) -> None:
        if descriptor.full_name in found or descriptor.full_name.startswith("google."):
            return
        found[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None and not is_map(field):
                add(field.message_type)

    for service in contract_services():
        for rpc in service.methods:
            add(rpc.input_type)
            add(rpc.output_type)
    return sorted(found.values(), key=lambda each: each.full_name)


def any_message(descriptor: Descriptor, rng: random.Random) -> Any:
    """Fill a message: each field with even odds, one member of a oneof at most."""
    message = GetMessageClass(descriptor)()
    chosen: set[str] = set()
    for field in descriptor.fields:
        oneof = field.containing_oneof
        if rng.random() < 0.5 or (oneof is not None and oneof.name in chosen):
            continue
        if oneof is not None:
            chosen.add(oneof.name)
        _fill(message, field, rng)
    return message


def any_value(rng: random.Random, depth: int = 3) -> Any:
    """Give a free-form JSON value."""
    kind = rng.randrange(6 if depth else 4)
    if kind == 4:
        return [any_value(rng, depth - 1) for _ in range(rng.randrange(3))]
    if kind == 5:
        return {rng.choice(TEXTS): any_value(rng, depth - 1) for _ in range(rng.randrange(3))}
    return (None, rng.random() < 0.5, rng.choice(NUMBERS), rng.choice(TEXTS))[kind]


def _fill(message: Any, field: FieldDescriptor, rng: random.Random) -> None:
    value = getattr(message, field.name)
    kind = field.message_type.full_name if field.message_type is not None else ""
    if is_map(field):
        value.update({rng.choice(TEXTS): rng.choice(TEXTS) for _ in range(2)})
    elif kind == "google.protobuf.Timestamp":
        for time in [value.add() for _ in range(rng.randrange(3))] if field.is_repeated else [value]:
            time.seconds, time.nanos = rng.randint(SECONDS_MIN, SECONDS_MAX), rng.choice(NANOS)
    elif kind == "google.protobuf.Struct":
        value.update({rng.choice(TEXTS): any_value(rng) for _ in range(3)})
    elif kind == "google.protobuf.FieldMask":
        value.paths.extend(["name", "short_description"])
    elif field.message_type is not None and field.is_repeated:
        value.extend([any_message(field.message_type, rng) for _ in range(rng.randrange(3))])
    elif field.message_type is not None:
        value.CopyFrom(any_message(field.message_type, rng))
        value.SetInParent()
    elif field.is_repeated:
        value.extend([_scalar(field, rng) for _ in range(rng.randrange(1, 4))])
    else:
        setattr(message, field.name, _scalar(field, rng))


def _scalar(field: FieldDescriptor, rng: random.Random) -> Any:
    if field.enum_type is not None:
        return rng.choice(field.enum_type.values).number
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.randrange(40))
    bits = INTEGERS[field.type]
    return rng.choice((0, 1, -1, 2**bits - 1, -(2**bits), rng.randint(-(2**bits), 2**bits - 1)))
