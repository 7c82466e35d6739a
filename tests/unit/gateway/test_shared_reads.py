"""Who asks the same at the same time shares an answer, and never one from before they asked."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.api.capacity.v1 import availability_pb2
from holdfast.api.capacity.v1 import inventory_service_pb2 as pb
from holdfast.common.contracts import contract_services
from holdfast.common.errors import DomainError, Reason
from holdfast.common.mesh_identity import Principal
from holdfast.gateway.routes import Routes
from holdfast.gateway.shared_reads import SharedReads
from holdfast.gateway.transcoder import compile_endpoints

ANN = Principal("ann", "org", frozenset({"buyer"}))
BOB = Principal("bob", "org", frozenset({"buyer"}))


class Service:
    """Answers one call after the other, each when it is told to, with the call's number."""

    def __init__(self) -> None:
        self.reads = SharedReads()
        self.calls = 0
        self._answers: asyncio.Queue[Exception | None] = asyncio.Queue()

    async def call(self, _deadline_seconds: float) -> int:
        self.calls += 1
        number = self.calls
        error = await self._answers.get()
        if error is not None:
            raise error
        return number

    def answer(self, error: Exception | None = None) -> None:
        self._answers.put_nowait(error)

    def ask(
        self, principal: Principal = ANN, *, event_id: str = "event", deadline_seconds: float = 10
    ) -> asyncio.Task[int]:
        request = pb.GetAvailabilityRequest(event_id=event_id)
        return asyncio.create_task(
            self.reads.ask(
                "GetAvailability", request, principal=principal, deadline_seconds=deadline_seconds, call=self.call
            )
        )


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_during_a_call_shares_the_next_one() -> None:
    service = Service()
    first = service.ask()
    await settled()
    crowd = [service.ask(each) for each in (ANN, BOB) * 50]
    await settled()
    assert service.calls == 1
    service.answer()
    assert await first == 1
    await settled()
    service.answer()
    assert set(await asyncio.gather(*crowd)) == {2}
    alone = service.ask()
    service.answer()
    assert await alone == 3


async def test_those_who_ask_at_once_share_the_first_call() -> None:
    service = Service()
    both = [service.ask(), service.ask(BOB)]
    service.answer()
    assert await asyncio.gather(*both) == [1, 1]


@pytest.mark.parametrize(
    ("principal", "event_id"),
    [
        (Principal("ann", "other", frozenset({"buyer"})), "event"),
        (Principal("ann", "org", frozenset({"buyer", "organizer"})), "event"),
        (ANN, "another event"),
    ],
)
async def test_other_organizations_roles_and_questions_are_calls_of_their_own(
    principal: Principal, event_id: str
) -> None:
    service = Service()
    asked = [service.ask(), service.ask(principal, event_id=event_id)]
    await settled()
    assert service.calls == 2
    service.answer()
    service.answer()
    assert set(await asyncio.gather(*asked)) == {1, 2}


async def test_a_caller_who_gives_up_takes_nothing_from_the_others() -> None:
    service = Service()
    impatient, gone, patient = service.ask(deadline_seconds=0.01), service.ask(), service.ask(BOB)
    await settled()
    gone.cancel()
    with pytest.raises(DomainError) as caught:
        await impatient
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    service.answer()
    assert await patient == 1


async def test_a_refusal_is_everybodys_and_the_next_call_is_a_new_one() -> None:
    service = Service()
    both = [service.ask(), service.ask(BOB)]
    service.answer(DomainError(Reason.EVENT_NOT_FOUND, "there is no such event"))
    for outcome in await asyncio.gather(*both, return_exceptions=True):
        assert isinstance(outcome, DomainError)
        assert outcome.reason is Reason.EVENT_NOT_FOUND
    again = service.ask()
    service.answer()
    assert await again == 2


async def test_closing_ends_what_is_under_way() -> None:
    service = Service()
    running = service.ask()
    await settled()
    following = service.ask()
    await settled()
    await service.reads.close()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(asyncio.CancelledError):
        await following


def test_an_answer_that_is_shared_is_written_once_and_never_for_another() -> None:
    endpoint = compile_endpoints(Routes(contract_services()).bindings)["GET", "/api/v1/events/{event_id}/availability"]
    first, second = (
        pb.GetAvailabilityResponse(availability=availability_pb2.Availability(event_id=event_id, etag="1"))
        for event_id in ("a", "b")
    )
    bodies = [endpoint.answer(each, replayed=False).body for each in (first, first, second, first)]
    assert bodies[0] is bodies[1]
    assert [b'"event_id":"a"' in body for body in bodies] == [True, True, False, True]
