"""Every rule holds in the contracts, and finds what breaks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import rules, rules_of_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from .contracts import Contracts

HOLDS = "capacity/v1/hold_service.proto"
INVENTORY = "capacity/v1/inventory_service.proto"
SECTIONS = "capacity/v1/section_service.proto"
QUOTES = "pricing/v1/quote_service.proto"
EVENT = "events/v1/event.proto"
EVENTS = "events/v1/event_service.proto"
REASONS = "common/v1/error_reason.proto"
MESSAGES = "events/v1/messages.proto"
CHANGES = "capacity/v1/messages.proto"
VENUE = "events/v1/venue.proto"
NOT_BUILT = "(holdfast.api.common.v1.hint) = {not_built: true}"
HOLDS_READ = 'option (holdfast.api.common.v1.policy) = {permission: "holds.read"};'

# rule, file, a text of it, what stands there instead
VIOLATIONS = [
    ("policies", HOLDS, HOLDS_READ, ""),
    (
        "policies",
        HOLDS,
        HOLDS_READ,
        'option (holdfast.api.common.v1.policy) = {permission: "holds.read" public: true};',
    ),
    ("policies", QUOTES, 'callers: ["capacity"]', 'callers: ["orders"]'),
    ("policies", SECTIONS, '{permission: "sections.read"}', '{callers: ["events"]}'),
    ("permissions", HOLDS, '{permission: "holds.read"}', '{permission: "holds.peek"}'),
    ("request_ids", QUOTES, 'no_request_id: "it changes nothing"', ""),
    ("request_ids", HOLDS, '{permission: "holds.place"}', '{permission: "holds.place" no_request_id: "why not"}'),
    (
        "request_ids",
        HOLDS,
        "string request_id = 10 [(buf.validate.field).string.max_len = 255]",
        "string request_id = 10",
    ),
    ("pages", HOLDS, "int32 page_size = 5 [(buf.validate.field).int32 = {gte: 0, lte: 200}]", "int32 page_size = 5"),
    ("pages", HOLDS, "string page_token = 6", "string from_where = 6"),
    ("pages", HOLDS, "holdfast.api.common.v1.Pagination pagination = 2;", ""),
    ("pages", INVENTORY, "int64 after_version = 2 [(buf.validate.field).int64.gte = 0];", ""),
    ("paths", HOLDS, 'get: "/api/v1/holds/{hold_id}"', 'get: "/holds/{hold_id}"'),
    ("paths", HOLDS, 'get: "/api/v1/holds/{hold_id}"', 'get: "/api/v1/holds/{id}"'),
    ("paths", HOLDS, 'get: "/api/v1/holds"', 'get: "/api/v1/venues"'),
    ("paths", HOLDS, 'get: "/api/v1/holds"', 'get: "/api/v1/heldPlaces"'),
    ("paths", EVENTS, 'post: "/api/v1/events/{event_id}:clone"', 'post: "/api/v1/events/{event_id}:Clone"'),
    ("paths", SECTIONS, 'body: "section"', 'body: "zone"'),
    ("locations", HOLDS, "/api/v1/holds/{hold.id}", "/api/v1/holds/{hold.number}"),
    ("locations", HOLDS, "/api/v1/holds/{hold.id}", "/api/v1/held/{hold.id}"),
    ("locations", HOLDS, 'option (holdfast.api.common.v1.rest) = {location: "/api/v1/holds/{hold.id}"};', ""),
    ("reasons", HOLDS, "Fails with HOLD_NOT_FOUND.", "Fails with HOLD_UNHEARD_OF."),
    ("reasons", HOLDS, "Fails with HOLD_NOT_FOUND.", ""),
    ("reasons", EVENT, "Holds can be placed.", "Holds can be placed, else EVENT_ASLEEP."),
    ("zeros", VENUE, "KIND_UNSPECIFIED = 0", "NOTHING = 0"),
    ("bounds", HOLDS, "string customer_id = 8 [(buf.validate.field).string.max_len = 128]", "string customer_id = 8"),
    (
        "bounds",
        HOLDS,
        "repeated HoldLineSelector lines = 6 [(buf.validate.field).repeated.max_items = 50]",
        "repeated HoldLineSelector lines = 6",
    ),
    (
        "bounds",
        SECTIONS,
        "string etag = 4 [(buf.validate.field).string.max_len = 64]",
        'string etag = 4 [(buf.validate.field).string.pattern = "^[0-9]+$"]',
    ),
    (
        "bounds",
        EVENT,
        "optional int32 age_restriction = 23 [(buf.validate.field).int32 = {gte: 0, lte: 120}]",
        "optional int32 age_restriction = 23 [(buf.validate.field).int32.gte = 0]",
    ),
    ("bounds", EVENT, "Rules of this event, free of form; members only. At most 32 kB as JSON.", "Rules."),
    ("older_names", EVENT, 'formerly: ["seller_id"]', 'formerly: ["venue_id"]'),
    (
        "kinds",
        HOLDS,
        "optional int32 quantity = 3 [(buf.validate.field).int32 = {gte: 1, lte: 1000}]",
        "double quantity = 3",
    ),
    (
        "kinds",
        HOLDS,
        "// Whom limits count and who pays; default",
        "// Itself.\n  PlaceHoldRequest more = 99;\n  // Default",
    ),
    (
        "kinds",
        SECTIONS,
        "  // Which.\n  string section_id = 1",
        "  // More.\n  bytes more = 99;\n  // Which.\n  string section_id = 1",
    ),
    (
        "streams",
        HOLDS,
        "rpc GetHold(GetHoldRequest) returns (GetHoldResponse)",
        "rpc GetHold(GetHoldRequest) returns (stream GetHoldResponse)",
    ),
    ("streams", HOLDS, "rpc GetHold(GetHoldRequest)", "rpc GetHold(stream GetHoldRequest)"),
    ("ends", INVENTORY, "// What differs, one for each counter of each section at most;", "// What differs;"),
    ("publications", MESSAGES, 'version_field: "controls.version"', 'version_field: "controls.number"'),
    ("publications", MESSAGES, 'id_field: "controls.event_id"', 'id_field: "controls"'),
    ("publications", MESSAGES, 'consumers: "capacity"', 'consumers: "orders"'),
    ("publications", MESSAGES, 'catch_up: "EventService.GetEvent"', 'catch_up: "EventService.GetEverything"'),
    ("publications", MESSAGES, "  google.protobuf.Timestamp occur_time = 3;", "  google.protobuf.Timestamp time = 3;"),
    (
        "publications",
        CHANGES,
        "// Sums over an event's sections.\nmessage InventoryTotals {",
        '// Sums.\nmessage InventoryTotals {\n  option (holdfast.api.common.v1.publication) = {aggregate: "sum"};',
    ),
    (
        "marks",
        HOLDS,
        "message GetHoldRequest {\n  // Which.\n  string hold_id = 1 [",
        f"message GetHoldRequest {{\n  // Which.\n  string hold_id = 1 [{NOT_BUILT}, ",
    ),
    ("comments", REASONS, '// Metadata: `{"time_zone": "Mars/Olympus"}`', "// It has metadata."),
]


RULES = (*rules.RULES, *rules_of_shape.RULES)


def by_name(name: str) -> rules.Rule:
    return next(rule for rule in RULES if rule.__name__ == name)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_contracts_keep_the_rule(rule: rules.Rule, contracts: Contracts) -> None:
    found = rule(contracts)
    assert not found, f"{rule.__doc__}\n" + "\n".join(found)


@pytest.mark.parametrize(("name", "file", "old", "new"), VIOLATIONS)
def test_a_planted_violation_is_found(
    name: str, file: str, old: str, new: str, with_planted: Callable[[str, str, str], Contracts]
) -> None:
    assert by_name(name)(with_planted(file, old, new))


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule.__name__ for rule in RULES} == {name for name, *_ in VIOLATIONS}
