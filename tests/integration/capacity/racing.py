"""Calls that run at once, and what became of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from holdfast.common.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Awaitable


async def outcomes(*calls: Awaitable[Any]) -> list[Any]:
    """Run calls at once; give answers and refusals, and pass on what is neither."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException) and not isinstance(each, DomainError):
            raise each
    return done


def reasons(done: list[Any]) -> Counter[str]:
    return Counter(each.reason if isinstance(each, DomainError) else "ok" for each in done)
