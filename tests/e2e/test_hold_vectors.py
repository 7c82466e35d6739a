"""The rules of holds, sales and places, vector by vector, over the stubs and over REST.

A vector is skipped only while the contract's list of what is not built names something that its calls need.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.contract.test_not_built import PREFIX, listed
from tests.e2e.hold_states import TRANSITIONS
from tests.e2e.hold_vectors import HOLDS
from tests.e2e.place_vectors import PLACES
from tests.e2e.vectors import CALLERS, Call, Race, Step, Vector, place, show
from tests.support.mesh import key
from tests.support.show import post
from tests.support.transports import RPCS, Answer, Caller, Rest, Stubs, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx
    from google.protobuf.descriptor import Descriptor

    from tests.support.mesh import Mesh

VECTORS: Final = (*TRANSITIONS, *HOLDS, *PLACES)
NOT_BUILT: Final = frozenset(listed())
THREADS: Final = 32
WAIT_SECONDS: Final = 30
_OFFSET: Final = re.compile(r"@([+-][0-9]+)([dh])")


def _fields(message: Descriptor, values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        described = message.fields_by_name[name]
        yield f"field {described.full_name.removeprefix(PREFIX)}"
        if described.message_type is not None:
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, Mapping):
                    yield from _fields(described.message_type, each)


def needs(vector: Vector) -> frozenset[str]:
    """Give the RPCs and fields of requests that a vector uses, written as in the list of what is not built."""
    found: set[str] = set()
    for step in (*vector.stage, *vector.steps):
        for call in step.calls if isinstance(step, Race) else (step,):
            rpc = RPCS[call.rpc]
            found.add(f"rpc {rpc.containing_service.full_name.removeprefix(PREFIX)}/{rpc.name}")
            found.update(_fields(rpc.input_type, call.fields))
    return frozenset(found)


def at(answer: Any, path: str) -> Any:
    """Look a value of an answer up: `hold.lines.0.seats`; None if it is not there."""
    for part in path.split("."):
        if isinstance(answer, list):
            answer = answer[int(part)] if int(part) < len(answer) else None
        else:
            answer = None if answer is None else answer.get(part)
    return answer


@dataclass
class Run:
    """A vector being run: what earlier answers were, by their names."""

    transport: Transport
    organization_id: str
    answers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Race):
                self.race(step)
            elif step.until:
                self.wait(step)
            else:
                self.check(step, self.answer(step))

    def value(self, given: Any) -> Any:
        """Put in what texts stand for."""
        if isinstance(given, Mapping):
            return {name: self.value(each) for name, each in given.items()}
        if isinstance(given, list):
            return [self.value(each) for each in given]
        if isinstance(given, str) and given.startswith("$"):
            name, _, path = given[1:].partition(".")
            return at(self.answers[name], path)
        if isinstance(given, str) and (offset := _OFFSET.fullmatch(given)):
            unit = {"d": timedelta(days=1), "h": timedelta(hours=1)}[offset[2]]
            return (datetime.now(UTC) + int(offset[1]) * unit).isoformat()
        return given

    def answer(self, call: Call) -> Answer:
        rpc = RPCS[call.rpc]
        fields = self.value(call.fields)
        if "request_id" in rpc.input_type.fields_by_name:
            fields["request_id"] = self.keys.setdefault(call.key, key()) if call.key else key()
        caller = Caller(call.by, CALLERS.get(call.by, "buyer"), self.organization_id)
        return self.transport.call(rpc, fields, caller)

    def check(self, call: Call, answer: Answer) -> None:
        said = f"{call.rpc} by {call.by}: {answer}"
        assert answer.reason == call.refused, said
        for name, value in call.tells.items():
            assert answer.metadata.get(name) == self.value(value), said
        assert set(call.names) <= set(answer.violations), said
        assert answer.replayed == call.replayed, said
        wrong = self.differences(call, answer)
        assert not wrong, f"{wrong}\n{said}"
        if call.named and not call.refused:
            self.answers[call.named] = answer.body

    def differences(self, call: Call, answer: Answer) -> dict[str, tuple[Any, Any]]:
        """Give what is there and what should be, by path."""
        found = {path: (at(answer.body, path), self.value(value)) for path, value in call.gives.items()}
        return {path: pair for path, pair in found.items() if pair[0] != pair[1] and (pair[0] or pair[1])}

    def wait(self, call: Call) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            answer = self.answer(call)
            if time.monotonic() > deadline or (not answer.reason and not self.differences(call, answer)):
                self.check(call, answer)
                return
            time.sleep(0.05)

    def race(self, race: Race) -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            answers = list(threads.map(self.answer, race.calls))
        won = [(call, answer) for call, answer in zip(race.calls, answers, strict=True) if not answer.reason]
        assert len(won) == race.wins, [answer for _, answer in won]
        assert {answer.reason for answer in answers if answer.reason} == {race.refused}
        for call, answer in won:
            self.check(call, answer)


@dataclass
class Stages:
    """Where vectors are run over a transport; those that are shared get the stage that the first of them made."""

    transport: Transport
    organization_id: str
    shared: dict[str, Run] = field(default_factory=dict)

    def of(self, vector: Vector) -> Run:
        name = repr(vector.stage)
        staged = self.shared.get(name) if vector.shared else None
        if staged is None:
            staged = Run(self.transport, self.organization_id)
            staged.run(vector.stage)
        if vector.shared:
            self.shared[name] = staged
        return replace(staged, answers=dict(staged.answers), keys={})


@pytest.fixture(scope="module", params=[Stubs, Rest], ids=["stubs", "rest"])
def stages(mesh: Mesh, organizer: httpx.Client, request: pytest.FixtureRequest) -> Iterator[Stages]:
    """Stages over each way to call."""
    venue = post(organizer, "/api/v1/venues", {"name": "First", "max_capacity": 1})["venue"]
    transport = request.param(mesh)
    try:
        yield Stages(transport, venue["organization_id"])
    finally:
        transport.close()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.given)
def test_vector(vector: Vector, stages: Stages) -> None:
    missing = sorted(needs(vector) & NOT_BUILT)
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    stages.of(vector).run(vector.steps)


def test_every_vector_has_a_name_of_its_own() -> None:
    assert len({vector.given for vector in VECTORS}) == len(VECTORS)


@pytest.mark.parametrize(
    "wrong",
    [
        place("H", 2, gives={"hold.lines.0.quantity": 3}),
        place("H", 2, refused="INSUFFICIENT_CAPACITY"),
        place("H", 2, replayed=True),
        place("H", 11, refused="INSUFFICIENT_CAPACITY", tells={"available": "9"}),
        place("H", 0, refused="VALIDATION_FAILED", names=("customer_id",)),
        Race((place("A", 1), place("B", 1)), wins=1, refused="INSUFFICIENT_CAPACITY"),
    ],
    ids=["value", "no refusal", "no replay", "metadata", "field", "race"],
)
def test_a_vector_that_expects_something_else_fails(wrong: Step, stages: Stages) -> None:
    vector = Vector("wrong", show(10), (wrong,))
    with pytest.raises(AssertionError):
        stages.of(vector).run(vector.steps)
