"""Amounts of money as whole minor units. Never a float, never a rounding.

Pure, so that domain code may use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from holdfast.common.currencies import EXPONENTS
from holdfast.common.errors import DomainError, FieldViolation, Reason

MAJOR_DIGITS_MAX: Final = 15
_AMOUNT: Final = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,4}))?", re.ASCII)


def exponent(currency_code: str) -> int:
    """Give how many decimals a currency has; an unknown code raises UNKNOWN_CURRENCY."""
    try:
        return EXPONENTS[currency_code]
    except KeyError:
        raise DomainError(
            Reason.UNKNOWN_CURRENCY,
            "ISO 4217 has no such currency",
            metadata={"currency_code": currency_code[:16]},
        ) from None


@dataclass(frozen=True, slots=True)
class Money:
    """So many minor units (cents, yen, fils) of one currency.

    Arithmetic and comparison of different currencies raise UNKNOWN_CURRENCY naming the other one.
    """

    minor: int
    currency_code: str

    def __post_init__(self) -> None:
        if isinstance(self.minor, bool) or not isinstance(self.minor, int):
            raise TypeError("money is counted in whole minor units")
        exponent(self.currency_code)

    @classmethod
    def parse(cls, amount: str, currency_code: str, *, field: str = "amount") -> Self:
        """Read a decimal string in major units, such as `248.40`.

        More decimals than the currency has, or anything that is not a plain decimal number, raises
        VALIDATION_FAILED on `field`; an unknown currency UNKNOWN_CURRENCY.
        """
        decimals = exponent(currency_code)
        match = _AMOUNT.fullmatch(amount)
        if match is None:
            raise _refused(field, "must be a decimal number with at most 15 digits before the point")
        sign, major, fraction = match[1], match[2], match[3] or ""
        if len(fraction) > decimals:
            raise _refused(field, f"{currency_code} has {decimals} decimals")
        minor = int(major) * 10**decimals + int(fraction.ljust(decimals, "0") or "0")
        return cls(minor=-minor if sign else minor, currency_code=currency_code)

    @classmethod
    def zero(cls, currency_code: str) -> Self:
        """Give no money, of a currency."""
        return cls(minor=0, currency_code=currency_code)

    def decimal_string(self) -> str:
        """Write the amount in major units with all the currency's decimals: `248.40`, `3630`."""
        decimals = exponent(self.currency_code)
        sign = "-" if self.minor < 0 else ""
        if decimals == 0:
            return f"{sign}{abs(self.minor)}"
        major, fraction = divmod(abs(self.minor), 10**decimals)
        return f"{sign}{major}.{fraction:0{decimals}d}"

    def __str__(self) -> str:
        return f"{self.currency_code} {self.decimal_string()}"

    def _same(self, other: Money) -> None:
        if other.currency_code != self.currency_code:
            raise DomainError(
                Reason.UNKNOWN_CURRENCY,
                f"amounts of {self.currency_code} and {other.currency_code} do not go together",
                metadata={"currency_code": other.currency_code},
            )

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor + other.minor, self.currency_code)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor - other.minor, self.currency_code)

    def __mul__(self, times: int) -> Money:
        return Money(self.minor * times, self.currency_code)

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency_code)

    def __lt__(self, other: Money) -> bool:
        self._same(other)
        return self.minor < other.minor

    def __le__(self, other: Money) -> bool:
        self._same(other)
        return self.minor <= other.minor


def _refused(field: str, message: str) -> DomainError:
    return DomainError(
        Reason.VALIDATION_FAILED,
        f"{field}: {message}",
        violations=(FieldViolation(field=field, message=message),),
    )
