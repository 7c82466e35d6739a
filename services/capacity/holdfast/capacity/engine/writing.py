"""The last round trip of a batch: everything that changed, as statements over arrays, and one row of the journal.

They travel with COMMIT. Seats are freed before they are claimed, because a seat may go from one hold to another in one
commit; the primary key of the claims is what keeps a seat from being claimed twice, whatever was decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.capacity import journal_messages
from holdfast.capacity.store import audits, batch_returns
from holdfast.capacity.store import batch_writes as writes
from holdfast.capacity.store.arrays import plain, texts
from holdfast.common import telemetry
from holdfast.common.database import Statement
from holdfast.common.idempotency import KEY_RETENTION

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.api.capacity.v1 import messages_pb2
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.engine.unit import Unit

BODY_BYTES_MAX: Final = 262_144
CHECKPOINT_VERSIONS: Final = 10_000
"""After so many versions the counters of all sections are kept beside the journal."""

_KEYS: Final = """
INSERT INTO capacity.requests (organization_id, caller, rpc, request_id, fingerprint, resource_id)
SELECT $1, k.caller, k.rpc, k.request_id, decode(k.fingerprint, 'hex'), k.resource_id
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
  AS k (caller, rpc, request_id, fingerprint, resource_id)
ORDER BY k.caller, k.rpc, k.request_id"""
# The table stays bounded by the rate of requests without a cleaner that would have to see all organizations.
_FORGET_KEYS: Final = """
DELETE FROM capacity.requests r USING (
  SELECT o.caller, o.rpc, o.request_id FROM capacity.requests o
  WHERE o.organization_id = $1 AND o.create_time < $2
  ORDER BY o.create_time LIMIT $3 FOR UPDATE SKIP LOCKED) f
WHERE r.organization_id = $1 AND r.caller = f.caller AND r.rpc = f.rpc AND r.request_id = f.request_id"""
_FORGOTTEN_PER_KEY: Final = 2

_VOIDS: Final = """
INSERT INTO capacity.voids (organization_id, event_id, through_version, cause, schedule_id, effect_time, done)
SELECT $1, $2, v.through_version, v.cause, v.schedule_id, $6, false
FROM unnest($3::bigint[], $4::text[], $5::text[]) AS v (through_version, cause, schedule_id)"""
_FINISH_VOID: Final = """
UPDATE capacity.voids SET done = true
WHERE organization_id = $1 AND event_id = $2 AND through_version = $3::bigint AND cause = $4 AND schedule_id = $5"""
_DUE: Final = """
INSERT INTO capacity.due_work (organization_id, event_id, due_time) VALUES ($1, $2, $3)
ON CONFLICT (organization_id, event_id) DO UPDATE SET due_time = excluded.due_time
WHERE due_work.due_time > excluded.due_time"""
_SETTLE_DUE: Final = """
INSERT INTO capacity.due_work (organization_id, event_id, due_time) VALUES ($1, $2, $3)
ON CONFLICT (organization_id, event_id) DO UPDATE SET due_time = excluded.due_time"""
_NOTHING_DUE: Final = "DELETE FROM capacity.due_work WHERE organization_id = $1 AND event_id = $2"
_JOURNAL: Final = """
INSERT INTO capacity.inventory_changes (organization_id, event_id, version, body, occur_time, traceparent)
VALUES ($1, $2, $3, $4, $5, $6)"""
_CHECKPOINT: Final = """
INSERT INTO capacity.inventory_checkpoints (organization_id, event_id, version, occur_time, body)
SELECT $1, $2, $3, $4, convert_to(jsonb_agg(jsonb_build_array(
  s.id, s.schedule_id, s.total, s.held, s.pending, s.sold, s.blocked, s.buffer, s.active,
  s.revision) ORDER BY s.id)::text, 'UTF8')
FROM capacity.sections s WHERE s.organization_id = $1 AND s.event_id = $2 AND s.delete_time IS NULL
HAVING count(*) > 0"""
_INVENTORY: Final = """
UPDATE capacity.event_inventories SET version = $3, last_change_time = $4, total = $5, held = $6, pending = $7,
  sold = $8, blocked = $9, crossed = $10, live_holds = $11
WHERE organization_id = $1 AND event_id = $2"""
_CONTROLS: Final = """
UPDATE capacity.event_inventories SET controls_version = $3, controls = $4
WHERE organization_id = $1 AND event_id = $2"""


class JournalRowTooLargeError(Exception):
    """What one commit changes does not fit the journal."""


def write(unit: Unit, *, due_before: datetime | None) -> tuple[list[Statement], messages_pb2.InventoryChanged | None]:
    """Give the statements of a commit, and what its row of the journal says; nothing when nothing changed.

    `due_before` is when something was due as the batch read it.
    """
    inventory = unit.inventory
    statements = _keys(unit)
    if not inventory.dirty:
        return [*statements, *_voids(unit), *_due(unit, due_before), *_extra(unit)], None
    crossed = inventory.crossings()
    change = journal_messages.change_message(inventory, crossed)
    body = change.SerializeToString(deterministic=True)
    if len(body) > BODY_BYTES_MAX:
        raise JournalRowTooLargeError(f"a change of {len(body)} bytes does not fit the journal")
    statements += writes.sections(inventory)
    statements += writes.blocks(inventory)
    statements += writes.holds(inventory)
    statements += writes.sales(inventory)
    statements += batch_returns.gone(inventory)
    statements += batch_returns.returns(inventory)
    statements += writes.seats(inventory)
    statements += _voids(unit)
    statements += _due(unit, due_before)
    statements += _extra(unit)
    statements += _journal(inventory, unit, body)
    return statements, change


def _extra(unit: Unit) -> list[Statement]:
    return [*audits.written(unit.inventory, unit.audit), *unit.extra]


def _journal(inventory: Inventory, unit: Unit, body: bytes) -> list[Statement]:
    mine = (inventory.organization_id, inventory.event_id)
    version, at, sums = inventory.next_version, inventory.at, inventory.counters
    statements = [
        Statement(_JOURNAL, (*mine, version, body, at, telemetry.current_traceparent())),
        Statement(
            _INVENTORY,
            (
                *mine,
                version,
                at,
                sums.total,
                sums.held,
                sums.pending,
                sums.sold,
                sums.blocked,
                writes.crossed_text(inventory.crossed),
                inventory.live_holds,
            ),
        ),
    ]
    if unit.controls is not None:
        stored = unit.controls.SerializeToString(deterministic=True)
        statements.append(Statement(_CONTROLS, (*mine, unit.controls.version, stored)))
    if version % CHECKPOINT_VERSIONS == 0:
        statements.append(Statement(_CHECKPOINT, (*mine, version, at)))
    return statements


def _due(unit: Unit, due_before: datetime | None) -> list[Statement]:
    """Note when something of the event is due next."""
    inventory = unit.inventory
    mine = (inventory.organization_id, inventory.event_id)
    times = [hold.expire_time for hold in inventory.holds.made if hold.end_time is None]
    if inventory.new_voids:
        times.append(inventory.at)
    if unit.settled:
        if unit.next_due is not None:
            times.append(unit.next_due)
        if not times:
            return [Statement(_NOTHING_DUE, mine)]
        return [Statement(_SETTLE_DUE, (*mine, min(times)))]
    if times and (due_before is None or min(times) < due_before):
        return [Statement(_DUE, (*mine, min(times)))]
    return []


def _keys(unit: Unit) -> list[Statement]:
    if not unit.new_keys:
        return []
    organization_id = unit.inventory.organization_id
    names, values = list(unit.new_keys), list(unit.new_keys.values())
    return [
        Statement(_FORGET_KEYS, (organization_id, unit.inventory.at - KEY_RETENTION, _FORGOTTEN_PER_KEY * len(names))),
        Statement(
            _KEYS,
            (
                organization_id,
                texts([caller for caller, _, _ in names]),
                texts([rpc for _, rpc, _ in names]),
                texts([request_id for _, _, request_id in names]),
                texts([fingerprint.hex() for fingerprint, _ in values]),
                texts([resource_id for _, resource_id in values]),
            ),
        ),
    ]


def _voids(unit: Unit) -> list[Statement]:
    inventory = unit.inventory
    mine = (inventory.organization_id, inventory.event_id)
    statements = []
    new = inventory.new_voids
    if new:
        statements.append(
            Statement(
                _VOIDS,
                (
                    *mine,
                    plain(void.through_version for void in new),
                    plain(void.cause.value for void in new),
                    texts([void.schedule_id or "" for void in new]),
                    inventory.at,
                ),
            )
        )
    statements += [
        Statement(_FINISH_VOID, (*mine, void.through_version, void.cause.value, void.schedule_id or ""))
        for void in unit.finished_voids
    ]
    return statements
