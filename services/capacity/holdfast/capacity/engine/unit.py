"""One commit of an event's inventory, being decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.api.events.v1 import event_pb2
    from holdfast.capacity.domain.audits import AuditEntry
    from holdfast.capacity.domain.holds import Void
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.seating_sagas import SeatingSaga
    from holdfast.capacity.engine.needs import Needs
    from holdfast.common.database import Statement
    from holdfast.common.idempotency import RequestKey

R_co = TypeVar("R_co", covariant=True)


@dataclass(slots=True)
class Unit:
    """The inventory, and what the rules do not look at: request keys, and statements of the operations' own.

    `known_keys` are the results of requests by key, as far as they were made: what a repetition answers. `sagas` are
    the seatings under way of the requests of the batch, by caller and request id.
    `replacement_of` tells which hold took the place of an expired one, where a request asked. `controls` is
    the message to store when the controls changed. `audit` is who did what, as far as the journal does not tell.
    `settled` says that what was due is done, and `next_due` when something is due next, apart from what the commit
    itself makes. `extra` travels with COMMIT.
    """

    inventory: Inventory
    hold_of_key: dict[tuple[str, str], str] = field(default_factory=dict)
    known_keys: dict[tuple[str, str, str], tuple[bytes, str]] = field(default_factory=dict)
    new_keys: dict[tuple[str, str, str], tuple[bytes, str]] = field(default_factory=dict)
    sagas: dict[tuple[str, str], SeatingSaga] = field(default_factory=dict)
    replacement_of: dict[str, str] = field(default_factory=dict)
    finished_voids: list[Void] = field(default_factory=list)
    controls: event_pb2.EventControls | None = None
    audit: list[AuditEntry] = field(default_factory=list)
    settled: bool = False
    next_due: datetime | None = None
    extra: list[Statement] = field(default_factory=list)

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        return self.inventory.dirty or bool(
            self.new_keys or self.finished_voids or self.settled or self.extra or self.audit
        )

    def replayed(self, key: RequestKey | None) -> str | None:
        """Return what this request made before, or None. Raises IDEMPOTENCY_KEY_REUSED if it came with other content.

        The event's lock is held: of requests running at the same time all but the first see its effect here.
        """
        known = None if key is None else self.known_keys.get((key.caller, key.rpc, key.request_id))
        if key is None or known is None:
            return None
        if known[0] != key.fingerprint:
            raise key_reused(key.request_id)
        return known[1]

    def record(self, key: RequestKey | None, resource_id: str) -> None:
        """Note what a request made."""
        if key is not None:
            name = (key.caller, key.rpc, key.request_id)
            self.known_keys[name] = self.new_keys[name] = (key.fingerprint, resource_id)


class Command(Protocol[R_co]):
    """Something asked of an event's inventory. It may be decided several times: only the last time counts."""

    def need(self, needs: Needs) -> None:
        """Say what it has to see."""

    def decide(self, unit: Unit) -> R_co:
        """Change the inventory and answer, or raise DomainError and change nothing. Raises TidyFirst."""


def key_reused(request_id: str) -> DomainError:
    """Give the error of a key that came with other content before."""
    return DomainError(
        Reason.IDEMPOTENCY_KEY_REUSED,
        "this request_id was used before with other content",
        metadata={"request_id": request_id},
    )
