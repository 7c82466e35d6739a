"""What all servicers do alike: who calls, with which key, in which transaction, with which answers from outside."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from holdfast.common import ids
from holdfast.common.idempotency import RequestKey
from holdfast.common.protobuf import fingerprint
from holdfast.events.operations.answers import NOT_ASKED, AnswerNeeded, Question
from holdfast.events.operations.outcomes import Actor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from google.protobuf.message import Message

    from holdfast.common.clock import Clock
    from holdfast.common.database import Database, Transaction
    from holdfast.common.pagination import PageTokens
    from holdfast.common.rpc_call import Call
    from holdfast.events.operations.answers import Answers
    from holdfast.events.operations.outcomes import Outcome
    from holdfast.events.outside import Outside

T = TypeVar("T")


class Front:
    """The dependencies of the servicers, and the steps that they share."""

    def __init__(self, *, database: Database, clock: Clock, outside: Outside, tokens: PageTokens) -> None:
        self._database = database
        self._clock = clock
        self.outside = outside
        self.tokens = tokens

    def now(self) -> datetime:
        """Read the service's clock."""
        return self._clock.now()

    def actor(self, call: Call) -> Actor:
        """Tell who calls."""
        return Actor(subject=call.principal.subject, organization_id=call.organization_id, member=is_member(call))

    def key(self, call: Call, request: Message, rpc: str) -> RequestKey:
        """Give the request's key, or, for a request without one, a key of its own.

        So a transaction that runs again because nobody knows whether its COMMIT arrived has its effect once.
        """
        return call.request_key(request, rpc) or RequestKey(
            caller=call.principal.subject, rpc=rpc, request_id=f"once {ids.new_id()}", fingerprint=fingerprint(request)
        )

    async def run(
        self, call: Call, operation: Callable[[Transaction], Awaitable[T]], *, organization_id: str | None = None
    ) -> T:
        """Run an operation in a transaction of the caller's organization, or of the one named."""
        return await self._database.run(
            operation, organization_id=organization_id or call.organization_id, deadline=call.deadline
        )

    async def run_answered(
        self, call: Call, event_id: str, operation: Callable[[Transaction, Answers], Awaitable[T]]
    ) -> T:
        """Run an operation; ask outside what it turns out to need, and run it again with the answer."""
        answers = NOT_ASKED
        for _ in Question:
            try:
                return await self.run(call, partial(_with, operation, answers))
            except AnswerNeeded as needed:
                answers = await self.outside.answer(
                    needed.question, organization_id=call.organization_id, event_id=event_id, known=answers
                )
        return await self.run(call, partial(_with, operation, answers))

    def settled(self, call: Call, request: Message, outcome: Outcome[T]) -> T:
        """Give an outcome's value; tell a caller who sent a key that it is a repetition, if it is."""
        if outcome.replayed and bool(getattr(request, "request_id", "")):
            call.mark_replayed()
        return outcome.value


async def _with(
    operation: Callable[[Transaction, Answers], Awaitable[T]], answers: Answers, transaction: Transaction
) -> T:
    return await operation(transaction, answers)


def is_member(call: Call) -> bool:
    """Tell whether the caller may see what is not public."""
    return call.principal.can("events.read_private")
