"""Answers of other services that some changes depend on, and how to ask for them.

No network inside a transaction: an operation that finds that it needs an answer it was not given raises
`AnswerNeeded`, which rolls back; its caller asks and runs it again with the answer. So replays, missing events and
forbidden transitions are told without asking anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable


class Question(Enum):
    """What must be asked."""

    READINESS = "readiness"
    COMMITMENTS = "commitments"


class AnswerNeeded(Exception):  # noqa: N818 - it asks, it does not fail
    """The operation needs an answer first."""

    def __init__(self, question: Question) -> None:
        super().__init__(question.value)
        self.question = question


@dataclass(frozen=True, slots=True)
class Readiness:
    """What starting sales needs besides what publishing needs."""

    active_sections: int
    active_price_tiers: int


@dataclass(frozen=True, slots=True)
class Commitments:
    """Places of an event that somebody counts on."""

    held: int
    pending: int
    sold: int

    @property
    def any(self) -> bool:
        """Whether there is one at all."""
        return self.held + self.pending + self.sold > 0


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers that are known; None = not asked yet."""

    readiness: Readiness | None = None
    commitments: Commitments | None = None

    def need_commitments(self) -> Commitments:
        """Give the commitments, or ask for them."""
        if self.commitments is None:
            raise AnswerNeeded(Question.COMMITMENTS)
        return self.commitments

    def need_readiness(self) -> Readiness:
        """Give the readiness, or ask for it."""
        if self.readiness is None:
            raise AnswerNeeded(Question.READINESS)
        return self.readiness


NOT_ASKED = Answers()


def check_unprotected(fields: Iterable[str], commitments: Commitments) -> None:
    """Refuse to change protected fields of an event that somebody counts on."""
    if commitments.any:
        raise DomainError(
            Reason.CONFIRMATION_REQUIRED,
            "places of this event are held or sold; such a change needs a confirmation",
            metadata={"fields": ",".join(sorted(fields))},
        )


def check_nothing_sold(commitments: Commitments) -> None:
    """Refuse to delete an event that somebody counts on."""
    if commitments.any:
        raise DomainError(
            Reason.TICKETS_SOLD,
            "places of this event are held or sold",
            metadata={"sold": str(commitments.sold), "held": str(commitments.held + commitments.pending)},
        )
