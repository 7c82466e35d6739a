"""Who may see and touch a hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from holdfast.capacity.domain.holds import Hold


@dataclass(frozen=True, slots=True)
class Viewer:
    """A caller. `reads_all` sees everybody's holds, `manages` may also act on them."""

    subject: str
    reads_all: bool
    manages: bool

    def sees(self, hold: Hold) -> bool:
        """Whether the hold exists for the caller."""
        return self.reads_all or hold.belongs_to(self.subject)

    def acts(self, hold: Hold) -> bool:
        """Whether the caller may change the hold."""
        return self.manages or hold.belongs_to(self.subject)


def hold_not_found(hold_id: str) -> DomainError:
    """Give the error of a hold that is not there for the caller."""
    return DomainError(Reason.HOLD_NOT_FOUND, "there is no such hold", metadata={"hold_id": hold_id})


def event_not_found(event_id: str) -> DomainError:
    """Give the error of an event that is not there for the caller."""
    return DomainError(Reason.EVENT_NOT_FOUND, "there is no such event", metadata={"event_id": event_id})


def section_not_found(section_id: str) -> DomainError:
    """Give the error of a section that is not there for the caller."""
    return DomainError(Reason.SECTION_NOT_FOUND, "there is no such section", metadata={"section_id": section_id})


def block_not_found(block_id: str) -> DomainError:
    """Give the error of a block that is not there for the caller."""
    return DomainError(Reason.BLOCK_NOT_FOUND, "there is no such block", metadata={"block_id": block_id})


def sale_not_found(sale_id: str) -> DomainError:
    """Give the error of a sale that is not there for the caller."""
    return DomainError(Reason.SALE_NOT_FOUND, "there is no such sale", metadata={"sale_id": sale_id})
