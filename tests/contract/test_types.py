"""The generated code is typed: what is not in a contract is an error before anything runs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .contracts import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

START = """
import grpc
from holdfast.api.capacity.v1 import hold_pb2, hold_service_pb2, hold_service_pb2_grpc

def place(channel: grpc.Channel) -> str:
    holds = hold_service_pb2_grpc.HoldServiceStub(channel)
    request = hold_service_pb2.PlaceHoldRequest(section_id="…", quantity=2)
    answer = holds.PlaceHold(request, timeout=1)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


def check(text: str, directory: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run the repository's mypy, with its settings, on one file of code."""
    file = directory / "caller.py"
    file.write_text(text)
    return subprocess.run(  # noqa: S603 — our own mypy
        [sys.executable, "-m", "mypy", "--cache-dir", str(cache), str(file)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_right_calls_pass(tmp_path: Path, cache: Path) -> None:
    result = check(f"{START}    return answer.hold.id\n", tmp_path, cache)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("return answer.hold.number", "number"),
        ("return answer.hold.expire_time", "Timestamp"),
        ("return str(holds.PlaceHolds)", "PlaceHolds"),
        ("return str(hold_service_pb2.PlaceHoldRequest(quantitty=2))", "quantitty"),
        ('return str(hold_service_pb2.PlaceHoldRequest(quantity="2"))', "quantity"),
        ("return str(holds.PlaceHold(hold_service_pb2.GetHoldRequest()))", "GetHoldRequest"),
        ("return str(hold_pb2.Hold.ASLEEP)", "ASLEEP"),
    ],
)
def test_a_wrong_one_is_found(line: str, named: str, tmp_path: Path, cache: Path) -> None:
    result = check(f"{START}    {line}\n", tmp_path, cache)
    assert result.returncode != 0
    assert named in result.stdout
