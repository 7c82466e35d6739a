"""The Python files of the repository, parsed once, for the rules to look at."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REPOSITORY = Path(__file__).resolve().parents[2]
PRODUCT = ("libs", "services")
EVERYTHING = (*PRODUCT, "tests", "benchmarks")
GENERATED = PurePosixPath("libs/api")


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the root, its text and its syntax tree."""

    path: PurePosixPath
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=str(self.path))

    @cached_property
    def docstrings(self) -> frozenset[int]:
        """Identities of the nodes that are docstrings, so that rules about strings can leave prose alone."""
        owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        return frozenset(
            id(node.body[0].value)
            for node in ast.walk(self.tree)
            if isinstance(node, owners) and node.body and isinstance(node.body[0], ast.Expr)
        )

    @property
    def room(self) -> str:
        """The path below the service's package: `store/holds.py`; empty outside the services."""
        parts = self.path.parts
        return "/".join(parts[4:]) if parts[0] == "services" and len(parts) > 4 else ""

    def strings(self) -> Iterator[tuple[int, str]]:
        """Every string literal that is not a docstring, f-strings with their fixed parts joined."""
        inside = {id(part) for node in ast.walk(self.tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value for part in node.values if isinstance(part, ast.Constant))
                yield node.lineno, "{}".join(str(part) for part in parts)
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in inside | self.docstrings
            ):
                yield node.lineno, node.value


@dataclass(frozen=True)
class Finding:
    """A place that breaks a rule."""

    path: PurePosixPath
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def read(root: Path = REPOSITORY, folders: Sequence[str] = EVERYTHING) -> list[Source]:
    """Read the hand-written Python files below the folders of a root."""
    found = []
    for folder in folders:
        for file in sorted((root / folder).rglob("*.py")):
            path = PurePosixPath(file.relative_to(root).as_posix())
            if not path.is_relative_to(GENERATED) and ".venv" not in path.parts:
                found.append(Source(path=path, text=file.read_text(encoding="utf-8")))
    return found


def product(sources: Sequence[Source]) -> list[Source]:
    """Return those that are shipped: libraries and services."""
    return [source for source in sources if source.path.parts[0] in PRODUCT]


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for such an expression; empty for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Every imported name with its line: `holdfast.common.errors.DomainError` for a `from` import."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = source.path.parent.parts[: len(source.path.parent.parts) - node.level + 1]
                start = package.index("holdfast") if "holdfast" in package else 0
                module = ".".join((*package[start:], *([module] if module else [])))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
