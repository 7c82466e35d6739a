"""Every noun of the contracts has its place in the glossary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .contracts import REPOSITORY

if TYPE_CHECKING:
    from .contracts import Contracts

GLOSSARY = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
CODE = frozenset(re.findall(r"`(\w+)`", GLOSSARY))
# Words that other systems use for our nouns, and that contracts must not use in names.
NOT_OURS = re.compile(r"(^|_)(tenant|account|booking|reservation|zone|stock|cart|slot)(_|$)")


def test_every_message_of_the_contracts_is_in_the_glossary(contracts: Contracts) -> None:
    nouns = {message.name for message in contracts.messages() if not message.name.endswith(("Request", "Response"))}
    assert not nouns - CODE, "give each of them a row in docs/glossary.md"


def test_the_glossary_names_nothing_that_is_gone(contracts: Contracts) -> None:
    known = {message.name for message in contracts.messages()}
    known |= {method.name for method in contracts.methods()}
    named = {word for word in CODE if re.fullmatch(r"(?:[A-Z][a-z]+)+", word)}
    assert named <= known


def test_each_word_is_explained_once() -> None:
    words = [
        word.strip()
        for words in re.findall(r"^\| \*\*([^*]+)\*\*", GLOSSARY, re.MULTILINE)
        for word in words.split(",")
    ]
    assert len(words) == len(set(words))


def test_contracts_use_our_words(contracts: Contracts) -> None:
    names = {field.name for message in contracts.messages() for field in message.fields} - {"time_zone"}
    assert not [name for name in names if NOT_OURS.search(name)]
