"""Request bodies: bytes → JSON values, refusing whatever two readers could understand differently.

Beyond the grammar of RFC 8259: no duplicate keys, no NaN or Infinity, UTF-8 without exceptions, at most `DEPTH_MAX`
levels. Nesting is measured before anything recurses. A number beyond a double becomes infinite here; whoever reads
its field refuses it by name. A number with a fraction or an exponent remembers how it was written: see `Fraction`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, Self

import orjson

from holdfast.common.errors import DomainError, FieldViolation, Reason

DEPTH_MAX: Final = 64
"""Levels of arrays and objects in one body."""

_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""A string, also one that never ends: the match is possessive and always succeeds, so the scan stays linear."""
_INNERMOST: Final = re.compile(rb"\[\]|\{\}")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


class Fraction(float):
    """A number that was written with a point or an exponent. `text` is how: a double has other digits than `0.1`."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        """Read a number of the JSON grammar."""
        number = super().__new__(cls, text)
        number.text = text
        return number


class _Refused(ValueError):  # noqa: N818 - it says what happened
    """Something the grammar allows and we do not; the text is shown to the caller."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def parse_object(body: bytes) -> dict[str, Any]:
    """Read one JSON object. Anything else is a MALFORMED_BODY that says what is wrong, and where it can be said."""
    if not body.strip():
        raise malformed("", "the body is empty; a JSON object is needed")
    plain = _plain(body)
    if plain is not None:
        return plain
    if nested_too_deep(body):
        raise malformed("", f"nested more than {DEPTH_MAX} levels deep")
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise malformed("", "not valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise malformed("", f"not valid JSON at line {error.lineno}, column {error.colno}") from None
    except _Refused as refused:
        raise malformed(refused.field, refused.message) from None
    except ValueError:  # an integer of more digits than Python converts
        raise malformed("", "a number has too many digits") from None
    except RecursionError:  # only an unbalanced body gets here
        raise malformed("", "not valid JSON") from None
    if type(value) is not dict:
        raise malformed("", "a JSON object is needed")
    return value


def _plain(body: bytes) -> dict[str, Any] | None:
    """Read what most bodies are, one object without objects, arrays and fractions in it, in a third of the time.

    None when it is not known to be one, or could be read in two ways: a key that came twice leaves fewer keys than
    colons, and so does a colon in a text, which is read the other way then.
    """
    if b"[" in body or body.count(b"{") != 1:
        return None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None  # the other way tells what is wrong
    if type(value) is not dict or len(value) != body.count(b":") or float in map(type, value.values()):
        return None
    return value


def malformed(field: str, message: str) -> DomainError:
    """Give the error of a body that cannot be read."""
    return DomainError(
        Reason.MALFORMED_BODY,
        f"{field}: {message}" if field else message,
        violations=(FieldViolation(field=field, message=message),),
    )


def nested_too_deep(body: bytes) -> bool:
    """Tell whether a body nests deeper than `DEPTH_MAX`, without recursion and in time linear in its length."""
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return False
    rest = _STRINGS.sub(b"", body).translate(None, _NOT_BRACKETS)
    for _ in range(DEPTH_MAX):
        peeled = _INNERMOST.sub(b"", rest)
        if len(peeled) == len(rest):
            # Nothing left, or not balanced: few stray brackets are the parser's to name, many are not worth it.
            return len(rest) > DEPTH_MAX
        rest = peeled
    return bool(rest)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(printable(key), "given more than once")
            seen.add(key)
    return result


def printable(text: str) -> str:
    """Shorten a caller's name for an answer, without what JSON or a terminal could choke on."""
    return text[:100].encode("ascii", "backslashreplace").decode().replace("\x00", "\\x00")


def _constant(name: str) -> float:
    raise _Refused("", f"{name} is not a number")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=Fraction, parse_constant=_constant)
