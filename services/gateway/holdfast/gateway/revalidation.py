"""Answers that a client has already: If-None-Match against the etag of the answer (RFC 9110, 13.1.2)."""

from __future__ import annotations

import re
from typing import Final

from holdfast.common.errors import invalid

CACHE_CONTROL: Final = (b"cache-control", b"private, no-cache")
"""Clients may keep the answer, each for itself, and ask before they use it again."""
ANY: Final = b"*"

_TAG: Final = rb'(?:W/)?"[\x21\x23-\x7e]*"'
_TAGS: Final = re.compile(rb"[ \t,]*" + _TAG + rb"(?:[ \t]*,[ \t,]*" + _TAG + rb")*[ \t,]*")
_OPAQUE: Final = re.compile(rb'"[\x21\x23-\x7e]*"')


def known_tags(header: bytes) -> frozenset[bytes]:
    """Give the tags of an If-None-Match header, quoted and without their mark of weakness; `*` stands for any.

    Raises VALIDATION_FAILED when it is neither.
    """
    if header.strip(b" \t") == ANY:
        return frozenset({ANY})
    if _TAGS.fullmatch(header) is None:
        raise invalid("If-None-Match", "must be etags, separated by commas, or *")
    return frozenset(_OPAQUE.findall(header))


def is_known(tag: bytes, known: frozenset[bytes]) -> bool:
    """Tell whether a quoted tag is one of those known. Weak and strong ones compare alike, as reading needs."""
    return tag in known or ANY in known
