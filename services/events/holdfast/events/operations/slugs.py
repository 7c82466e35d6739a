"""Slugs: made from names once, numbered when taken, stable on rename."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slugify import slugify

from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

SLUG_LENGTH_MAX: Final = 560
_ATTEMPTS_MAX: Final = 20


def slug_of(*parts: str) -> str:
    """Make a slug of lower-case letters, digits and hyphens from names in any script; `unnamed` if nothing is left."""
    return slugify("-".join(parts), max_length=SLUG_LENGTH_MAX) or "unnamed"


def free_slug(base: str, taken: Collection[str]) -> str:
    """Give `base`, or the first of `base-2`, `base-3`, … that is not taken."""
    if base not in taken:
        return base
    return next(f"{base}-{number}" for number in range(2, len(taken) + 3) if f"{base}-{number}" not in taken)


async def insert_with_slug(
    base: str,
    *,
    taken: Callable[[], Awaitable[Collection[str]]],
    insert: Callable[[str], Awaitable[bool]],
) -> str:
    """Insert under the first free slug; `insert` says False when somebody else took it meanwhile. Gives the slug."""
    for _ in range(_ATTEMPTS_MAX):
        slug = free_slug(base, await taken())
        if await insert(slug):
            return slug
    raise DomainError(
        Reason.OVERLOADED,
        "too many names like this one are being made; try again",
        metadata={"queue": "slugs"},
        retry_after_seconds=1.0,
    )
