"""What makes it right to remember that a request was judged good: no rule looks at a clock, or at its request_id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2

from holdfast.common.contracts import contract_services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

SERVICES = ("events", "capacity", "pricing")


def messages_below(message: Descriptor, seen: set[str]) -> Iterator[Descriptor]:
    """Give a message and every one that it can contain."""
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    yield message
    for field in message.fields:
        if field.message_type is not None:
            yield from messages_below(field.message_type, seen)


def expressions_of(message: Descriptor) -> list[str]:
    """Give the CEL expressions of a message and of its fields."""
    found = [each.expression for each in message.GetOptions().Extensions[validate_pb2.message].cel]
    for field in message.fields:
        found += [each.expression for each in field.GetOptions().Extensions[validate_pb2.field].cel]
    return found


def moving(rules: validate_pb2.FieldRules) -> bool:
    """Tell whether a field's rules depend on when they are asked."""
    times = rules.timestamp
    return times.HasField("within") or times.lt_now or times.gt_now


def looks_elsewhere(expression: str) -> bool:
    """Tell whether an expression looks at the clock, or at the id of the request."""
    return re.search(r"\b(now|request_id)\b", expression) is not None


@pytest.mark.parametrize("service", SERVICES)
def test_no_rule_of_a_request_looks_at_a_clock_or_at_its_id(service: str) -> None:
    requests = [method.input_type for each in contract_services(service) for method in each.methods]
    judged = [one for request in requests for one in messages_below(request, set())]
    assert len(judged) > len(requests) > 10
    assert [one.full_name for one in judged for text in expressions_of(one) if looks_elsewhere(text)] == []
    fields = [field for one in judged for field in one.fields]
    assert [each.full_name for each in fields if moving(each.GetOptions().Extensions[validate_pb2.field])] == []


def test_the_check_sees_such_rules() -> None:
    assert moving(validate_pb2.FieldRules(timestamp=validate_pb2.TimestampRules(gt_now=True)))
    assert looks_elsewhere("this.start_time > now")
    assert looks_elsewhere("this.request_id != ''")
    assert not looks_elsewhere("size(this.request_ids) > 0 || this.known")
    options = descriptor_pb2.MessageOptions()
    options.Extensions[validate_pb2.message].cel.add(id="a", expression="now > this.time")
    assert any(looks_elsewhere(each.expression) for each in options.Extensions[validate_pb2.message].cel)
