"""Small pieces of Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def paragraphs(comment: str) -> str:
    """Give a comment of the contract as Markdown paragraphs, without the space that begins its lines."""
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.splitlines()).strip()


def one_line(comment: str) -> str:
    """Give a comment on one line, fit for a cell of a table."""
    return re.sub(r"\s+", " ", comment).strip().replace("|", "\\|")


def first_sentence(comment: str) -> str:
    """Give the first sentence of a comment, without its full stop."""
    text = one_line(comment)
    match = re.match(r"(.*?)[.:](?:\s|$)", text)
    return match[1] if match else text


def anchor(heading: str) -> str:
    """Give what a link to a heading ends with, as GitHub and most renderers make it."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def link(text: str, page: str, heading: str, *, here: str) -> str:
    """Link to a heading of a page; `here` is the page that the link stands on."""
    return f"[{text}]({'' if page == here else page}#{anchor(heading)})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def page(*blocks: str) -> str:
    """Put blocks together to a file."""
    return "\n\n".join(block for block in blocks if block) + "\n"
