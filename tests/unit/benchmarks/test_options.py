"""The command line of `make bench`."""

from __future__ import annotations

import pytest

from benchmarks.cases import ALONE, CASES
from benchmarks.options import parse

KNOWN = ("rest_hold_hot", "grpc_echo", "hold_at_1m")


def test_without_cases_all_are_measured() -> None:
    options = parse([], KNOWN)
    assert options.cases == KNOWN
    assert (options.runs, options.connections, options.principals) == (3, 128, 2000)


def test_cases_run_in_their_own_order_whatever_the_order_of_asking() -> None:
    assert parse(["hold_at_1m", "rest_hold_hot"], KNOWN).cases == ("rest_hold_hot", "hold_at_1m")


@pytest.mark.parametrize("arguments", [["rest_hold_cold"], ["--runs", "0"], ["--seconds", "0.5"], ["--connections=-8"]])
def test_what_cannot_be_measured_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments, KNOWN)
    assert ended.value.code == 2
    assert "usage: make bench" in capsys.readouterr().err


def test_every_case_says_what_it_does() -> None:
    assert set(CASES) >= ALONE
    assert all(case.__doc__ for case in CASES.values())
