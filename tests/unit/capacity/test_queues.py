"""Queues of events: bounded, in order, one batch of an event at a time, organizations in turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity.engine.queues import Item, Queues
from holdfast.common.errors import DomainError, Reason
from holdfast.common.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit


class Ask:
    """A command that answers its own name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def need(self, needs: Needs) -> None:
        raise AssertionError(f"nobody reads here: {needs}")

    def decide(self, unit: Unit) -> str:
        raise AssertionError(f"nobody decides here: {unit}")


def name_of(item: Item) -> str:
    assert isinstance(item.command, Ask)
    return item.command.name


class Work:
    """Stands for the database: notes the batches, and answers them when it is told to."""

    def __init__(self, **limits: Any) -> None:
        self.batches: list[tuple[str, str, list[str]]] = []
        self.again: Callable[[list[Item]], list[Item]] = lambda _: []
        self.gate = asyncio.Event()
        self.started = asyncio.Event()
        self.queues = Queues(self.run, metrics=Metrics("capacity"), **{"workers_max": 4, **limits})

    async def run(self, organization_id: str, event_id: str, items: list[Item]) -> list[Item]:
        self.batches.append((organization_id, event_id, [name_of(item) for item in items]))
        self.started.set()
        await self.gate.wait()
        again = self.again(items)
        for item in items:
            if item not in again:
                item.result = f"done {name_of(item)}"
                item.done(item)
        return again

    def ask(self, name: str, *, organization: str = "org", event: str = "event", seconds: float = 60) -> Any:
        deadline = asyncio.get_running_loop().time() + seconds
        return asyncio.ensure_future(self.queues.submit(organization, event, Ask(name), deadline=deadline))

    async def begun(self) -> None:
        """Wait until a batch is under way, and what was asked since then waits for the next."""
        await self.started.wait()
        await asyncio.sleep(0)


async def test_what_arrives_during_a_batch_forms_the_next_one_in_order() -> None:
    work = Work(batch_max=3)
    first = work.ask("a")
    await work.begun()
    others = [work.ask(name) for name in "bcdef"]
    await asyncio.sleep(0)
    assert work.batches == [("org", "event", ["a"])]
    work.gate.set()
    assert await first == "done a"
    assert await asyncio.gather(*others) == [f"done {name}" for name in "bcdef"]
    assert [names for _, _, names in work.batches] == [["a"], ["b", "c", "d"], ["e", "f"]]


async def test_what_arrives_together_goes_together() -> None:
    work = Work()
    work.gate.set()
    await asyncio.gather(*(work.ask(name) for name in "abc"))
    assert [names for _, _, names in work.batches] == [["a", "b", "c"]]


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    work = Work(waiting_max=2, waiting_total_max=3)
    taken = work.ask("a")
    await work.begun()
    waiting = [work.ask(name) for name in "bc"]
    other = work.ask("d", event="another")
    await asyncio.sleep(0)
    with pytest.raises(DomainError) as one_event:
        await work.ask("e")
    third = work.ask("f", event="third")
    await asyncio.sleep(0)
    refused = one_event.value
    assert (refused.reason, refused.metadata) == (Reason.OVERLOADED, {"queue": "event"})
    assert refused.retry_after_seconds
    work.gate.set()
    assert len(await asyncio.gather(taken, *waiting, other, third)) == 5


async def test_all_events_together_have_a_limit_too() -> None:
    work = Work(workers_max=1, waiting_total_max=2)
    taken = work.ask("a")
    await work.begun()
    waiting = [work.ask(name, event=name) for name in "bc"]
    await asyncio.sleep(0)
    with pytest.raises(DomainError) as caught:
        await work.ask("d", event="d")
    assert caught.value.reason is Reason.OVERLOADED
    work.gate.set()
    await asyncio.gather(taken, *waiting)


async def test_organizations_take_turns_whatever_one_of_them_asks_for() -> None:
    work = Work(workers_max=1)
    rush = [work.ask(f"a{number}", organization="rush", event=f"event{number}") for number in range(5)]
    await work.begun()
    quiet = work.ask("b", organization="quiet")
    await asyncio.sleep(0)
    work.gate.set()
    await asyncio.gather(quiet, *rush)
    assert [organization for organization, _, _ in work.batches][:3] == ["rush", "rush", "quiet"]


async def test_events_do_not_wait_for_each_other() -> None:
    work = Work(workers_max=2)
    both = [work.ask("a", event="one"), work.ask("b", event="other")]
    await work.begun()
    assert {event for _, event, _ in work.batches} == {"one", "other"}
    work.gate.set()
    await asyncio.gather(*both)


async def test_whose_time_is_over_or_who_left_is_not_decided() -> None:
    work = Work()
    first = work.ask("a")
    await work.begun()
    late, gone, stays = work.ask("late", seconds=0), work.ask("gone"), work.ask("stays")
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    work.gate.set()
    assert await stays == "done stays"
    assert await first == "done a"
    with pytest.raises(DomainError) as caught:
        await late
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert [names for _, _, names in work.batches] == [["a"], ["stays"]]


async def test_a_batch_goes_on_without_a_caller_who_left() -> None:
    work = Work()
    asked = work.ask("a")
    await work.begun()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    work.gate.set()
    await work.queues.close()
    assert [names for _, _, names in work.batches] == [["a"]]


async def test_what_must_be_decided_again_comes_first() -> None:
    work = Work()
    once = iter([True, True])
    work.again = lambda items: [item for item in items if name_of(item) == "b" and next(once, False)]
    asked = [work.ask(name) for name in "abc"]
    await work.begun()
    later = work.ask("d")
    await asyncio.sleep(0)
    work.gate.set()
    await asyncio.gather(*asked, later)
    assert [names for _, _, names in work.batches] == [["a", "b", "c"], ["b", "d"], ["b"]]


async def test_closing_ends_what_was_begun_and_refuses_what_waits() -> None:
    work = Work()
    begun = work.ask("a")
    await work.begun()
    waiting = work.ask("b")
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(work.queues.close())
    with pytest.raises(DomainError) as caught:
        await waiting
    assert caught.value.reason is Reason.OVERLOADED
    assert not closing.done()
    work.gate.set()
    await closing
    assert await begun == "done a"


async def test_closing_also_ends_what_a_batch_gives_back() -> None:
    work = Work()
    once = iter([True])
    work.again = lambda items: items if next(once, False) else []
    asked = work.ask("a")
    await work.begun()
    closing = asyncio.ensure_future(work.queues.close())
    await asyncio.sleep(0)
    work.gate.set()
    await closing
    assert await asked == "done a"
    assert [names for _, _, names in work.batches] == [["a"], ["a"]]
