"""Money is whole minor units; nothing is rounded, nothing unknown accepted."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.common.currencies import EXPONENTS
from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money, exponent

MINOR = st.integers(min_value=1 - 10**15, max_value=10**15 - 1)


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "written"),
    [
        ("248.40", "USD", 24840, "248.40"),
        ("248.4", "USD", 24840, "248.40"),
        ("248", "USD", 24800, "248.00"),
        ("3630", "JPY", 3630, "3630"),
        ("0.005", "BHD", 5, "0.005"),
        ("-0.05", "EUR", -5, "-0.05"),
        ("1.2345", "CLF", 12345, "1.2345"),
        ("0", "KRW", 0, "0"),
        ("999999999999999.99", "USD", 99999999999999999, "999999999999999.99"),
    ],
)
def test_amounts_are_read_and_written_exactly(amount: str, currency: str, minor: int, written: str) -> None:
    money = Money.parse(amount, currency)
    assert money.minor == minor
    assert money.decimal_string() == written
    assert str(money) == f"{currency} {written}"


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("1.234", "USD"), ("1.5", "JPY"), ("1.0", "JPY"), ("0.0001", "BHD"), ("", "USD"), (".5", "USD"), ("1.", "USD"),
        ("1e3", "USD"), ("NaN", "USD"), ("Infinity", "USD"), ("+1", "USD"), (" 1", "USD"), ("1 ", "USD"),
        ("1,5", "USD"),
        ("--1", "USD"), ("\uff11", "USD"), ("1\n", "USD"), ("1234567890123456", "USD"), ("0x10", "USD"),
    ],
)  # fmt: skip
def test_what_is_no_amount_of_the_currency_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(DomainError) as refused:
        Money.parse(amount, currency, field="price.amount")
    assert refused.value.reason is Reason.VALIDATION_FAILED
    assert refused.value.violations[0].field == "price.amount"


@pytest.mark.parametrize("code", ["XXX", "XAU", "XTS", "usd", "", "US", "EURO", "HRK", "DEM"])
def test_currencies_that_are_none_are_unknown(code: str) -> None:
    with pytest.raises(DomainError) as refused:
        Money.parse("1", code)
    assert refused.value.reason is Reason.UNKNOWN_CURRENCY
    assert refused.value.metadata == {"currency_code": code}


def test_the_exponents_are_those_of_iso_4217() -> None:
    others = {code: decimals for code, decimals in EXPONENTS.items() if decimals != 2}
    zero = [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ]
    three = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]
    assert others == dict.fromkeys(zero, 0) | dict.fromkeys(three, 3) | {"CLF": 4, "UYW": 4}
    assert all(len(code) == 3 and code.isupper() and code.isascii() for code in EXPONENTS)
    assert {"USD", "EUR", "GBP", "CHF", "CNY", "INR", "BRL", "ZAR", "MXN", "HUF", "MRU", "MGA"} <= set(EXPONENTS)
    assert 165 <= len(EXPONENTS) <= 175


@settings(deadline=None)
@given(MINOR, st.sampled_from(sorted(EXPONENTS)))
def test_what_is_written_reads_back(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    assert Money.parse(money.decimal_string(), currency) == money


@settings(deadline=None)
@given(MINOR, MINOR)
def test_sums_are_exact(a: int, b: int) -> None:
    assert (Money(a, "USD") + Money(b, "USD") - Money(b, "USD")).minor == a


def test_currencies_do_not_mix() -> None:
    for mixed in (operator.add, operator.sub, operator.lt, operator.le):
        with pytest.raises(DomainError) as refused:
            mixed(Money(1, "USD"), Money(1, "EUR"))
        assert refused.value.metadata == {"currency_code": "EUR"}


def test_money_is_never_a_float() -> None:
    with pytest.raises(TypeError):
        Money(1.0, "USD")  # type: ignore[arg-type] # that is the mistake
    with pytest.raises(TypeError):
        Money(True, "USD")


def test_multiplication_and_order() -> None:
    assert Money(250, "USD") * 3 == Money(750, "USD")
    assert -Money(250, "USD") < Money.zero("USD") <= Money.zero("USD")
    assert exponent("JPY") == 0
