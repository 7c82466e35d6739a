"""The REST paths of the contract: every google.api.http binding of every service, found and matched.

There is no other list of routes. A path that two bindings claim stops the start, and so does a binding of a stream:
one answer cannot be many.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from google.api import annotations_pb2

from holdfast.common.errors import DomainError, Reason
from holdfast.gateway.json_text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

SEGMENTS_MAX: Final = 16
METHODS: Final = ("GET", "PUT", "POST", "DELETE", "PATCH")

_VARIABLE: Final = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*)\}(?::([A-Za-z][A-Za-z0-9]*))?")
_LITERAL: Final = re.compile(r"[A-Za-z0-9._~-]+(?::[A-Za-z][A-Za-z0-9]*)?")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class RouteConflict(ValueError):  # noqa: N818 - it says what happened
    """The contract binds a path twice, or in a way that is not understood. Found at the start."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One way to call an RPC over REST."""

    peer: str
    """The service of the mesh that answers: `events`, `capacity`, `pricing`."""
    rpc: MethodDescriptor
    method: str
    template: str
    body: str
    """`*` = the whole request, a field's name, or empty."""
    variables: tuple[str, ...]
    """Field paths that the path's variables set, in the path's order."""


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    verbs: dict[str, _Node] = field(default_factory=dict)
    bindings: dict[str, Binding] = field(default_factory=dict)


def bindings_of(service: ServiceDescriptor) -> Iterator[Binding]:
    """Give a service's REST bindings, the main one of an RPC before its additional ones."""
    peer = service.full_name.split(".")[2]  # holdfast.api.<service>.v1.<Name>
    for rpc in service.methods:
        options = rpc.GetOptions()
        if not options.HasExtension(annotations_pb2.http):
            continue
        if rpc.client_streaming or rpc.server_streaming:
            raise RouteConflict(f"{rpc.full_name} is a stream and has no place in REST")
        rule = options.Extensions[annotations_pb2.http]
        for each in (rule, *rule.additional_bindings):
            kind = each.WhichOneof("pattern")
            if kind is None or kind == "custom" or each.response_body:
                raise RouteConflict(f"{rpc.full_name}: only get, put, post, delete and patch with whole responses")
            template = getattr(each, kind)
            yield Binding(
                peer=peer,
                rpc=rpc,
                method=kind.upper(),
                template=template,
                body=each.body,
                variables=tuple(match[1] for match in _VARIABLE.finditer(template)),
            )


class Routes:
    """All bindings as a tree of path segments; literals go before variables."""

    def __init__(self, services: Sequence[ServiceDescriptor]) -> None:
        self.bindings: tuple[Binding, ...] = tuple(binding for each in services for binding in bindings_of(each))
        self._root = _Node()
        for binding in self.bindings:
            self._add(binding)

    def _add(self, binding: Binding) -> None:
        node = self._root
        segments = binding.template.removeprefix("/").split("/")
        if len(segments) > SEGMENTS_MAX:
            raise RouteConflict(f"{binding.template} has more than {SEGMENTS_MAX} segments")
        for segment in segments:
            variable = _VARIABLE.fullmatch(segment)
            if variable and variable[2]:
                node = node.verbs.setdefault(variable[2], _Node())
            elif variable:
                node.variable = node.variable or _Node()
                node = node.variable
            elif _LITERAL.fullmatch(segment):
                node = node.literals.setdefault(segment, _Node())
            else:
                raise RouteConflict(f"{binding.rpc.full_name}: {binding.template} is not understood")
        other = node.bindings.setdefault(binding.method, binding)
        if other is not binding:
            raise RouteConflict(f"{binding.method} {binding.template} is {other.rpc.full_name} already")

    def match(self, method: str, raw_path: bytes) -> tuple[Binding, list[str]]:
        """Find the binding of a request and the values of its variables, decoded.

        Raises PATH_NOT_FOUND, or METHOD_NOT_ALLOWED with the methods that the path has.
        """
        segments = _segments(raw_path)
        wanted = "GET" if method == "HEAD" else method
        allowed: dict[str, None] = {}
        if segments is not None:
            straight = _straight(self._root, segments)
            if straight is not None and wanted in straight[0].bindings:
                return straight[0].bindings[wanted], straight[1]
            found = _find(self._root, segments, 0, [], wanted, allowed)
            if found is not None:
                return found
        if not allowed:
            raise path_not_found(raw_path)
        names = ", ".join(sorted(allowed))  # HEAD goes with GET, and OPTIONS with all
        raise DomainError(Reason.METHOD_NOT_ALLOWED, f"this path takes {names}", metadata={"allowed": names})


def path_not_found(raw_path: bytes) -> DomainError:
    """Give the answer to a path that is not there."""
    path = printable(raw_path.decode("latin-1"))
    return DomainError(Reason.PATH_NOT_FOUND, "there is no such path", metadata={"path": path})


def _segments(raw_path: bytes) -> list[str] | None:
    """Split a path as it was sent, then decode each segment; None if it cannot be one of ours.

    A decoded segment that would climb or that holds a slash is no name of anything.
    """
    text = raw_path.decode("latin-1")
    parts = text.split("/")
    if parts[0] or len(parts) < 2 or len(parts) > SEGMENTS_MAX + 1 or not text.isascii():  # noqa: PLR2004 - leading slash
        return None
    if "%" not in text:
        return None if "." in parts or ".." in parts or "" in parts[1:] else parts[1:]
    if _BAD_ESCAPE.search(text):
        return None
    decoded: list[str] = []
    for part in parts[1:]:
        try:
            segment = unquote_to_bytes(part).decode("utf-8")
        except UnicodeDecodeError:
            return None
        if segment in {"", ".", ".."} or "/" in segment or "\\" in segment or "\x00" in segment:
            return None
        decoded.append(segment)
    return decoded


def _straight(node: _Node, segments: list[str]) -> tuple[_Node, list[str]] | None:
    """Go down by literals, and by a variable only where there is nothing else: that needs no way back."""
    values: list[str] = []
    for segment in segments:
        below = node.literals.get(segment)
        if below is None:
            if node.verbs or node.variable is None:
                return None
            below = node.variable
            values.append(segment)
        node = below
    return node, values


def _find(  # noqa: PLR0913, PLR0917 - one recursion, bounded by SEGMENTS_MAX
    node: _Node, segments: list[str], index: int, values: list[str], method: str, allowed: dict[str, None]
) -> tuple[Binding, list[str]] | None:
    if index == len(segments):
        allowed.update(dict.fromkeys(node.bindings))
        binding = node.bindings.get(method)
        return None if binding is None else (binding, values)
    segment = segments[index]
    literal = node.literals.get(segment)
    if literal is not None:
        found = _find(literal, segments, index + 1, values, method, allowed)
        if found is not None:
            return found
    if node.verbs and ":" in segment:
        value, _, verb = segment.rpartition(":")
        below = node.verbs.get(verb)
        if below is not None and value:
            found = _find(below, segments, index + 1, [*values, value], method, allowed)
            if found is not None:
                return found
    if node.variable is not None:
        return _find(node.variable, segments, index + 1, [*values, segment], method, allowed)
    return None
