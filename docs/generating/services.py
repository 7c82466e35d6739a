"""A page for each package: its services, a table of their RPCs first, then each RPC, then the types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from docs.generating.fields import REASONS, field_table, short_name
from docs.generating.text import anchor, first_sentence, link, one_line, page, paragraphs, table
from holdfast.common.errors import Reason
from holdfast.common.permissions import ROLES
from tests.contract.contracts import bindings, policy, rest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from google.protobuf.descriptor import (
        Descriptor,
        EnumDescriptor,
        FileDescriptor,
        MethodDescriptor,
        ServiceDescriptor,
    )

    from tests.contract.contracts import Contracts

_REASONS: Final = frozenset(reason.value for reason in Reason)
_WORD: Final = re.compile(r"[A-Z][A-Z0-9_]+|[()`]")


def rpc_id(rpc: MethodDescriptor) -> str:
    """Give an RPC's name as the list of what is not built writes it."""
    service = rpc.containing_service.full_name.removeprefix("holdfast.api.")
    return f"rpc {service}/{rpc.name}"


def files_of(contracts: Contracts, package: str) -> list[FileDescriptor]:
    """Give the files of a package: `capacity`."""
    return [file for file in contracts.files if file.package == f"holdfast.api.{package}.v1"]


def services_of(contracts: Contracts, package: str) -> list[ServiceDescriptor]:
    """Give the gRPC services of a package, in the order of their names."""
    return [
        service
        for file in files_of(contracts, package)
        for service in sorted(file.services_by_name.values(), key=lambda each: str(each.name))
    ]


def rest_text(rpc: MethodDescriptor, *, separator: str = "<br>") -> str:
    """Give an RPC's REST paths; `none` for those of the mesh."""
    return separator.join(f"`{each.verb} {each.path}`" for each in bindings(rpc)) or "none"


def who_text(rpc: MethodDescriptor) -> str:
    """Give who may call: a permission, everybody, or mesh identities."""
    rule = policy(rpc)
    if rule.public:
        return "everybody"
    if rule.callers:
        return "mesh only: " + ", ".join(rule.callers)
    return link(f"`{rule.permission}`", "permissions.md", rule.permission, here="")


def reasons_of(contracts: Contracts, rpc: MethodDescriptor) -> list[str]:
    """Give the reasons that an RPC's comment names after "Fails with", in its order."""
    comment = contracts.comments.get(rpc.full_name, "")
    parts = re.findall(r"Fails with(.*?)(?:\n\s*\n|$)", comment, re.DOTALL)
    found = [word for part in parts for word, depth in _words(part) if not depth and word in _REASONS]
    return list(dict.fromkeys(found))


def service_page(contracts: Contracts, package: str, not_built: Collection[str]) -> str:
    """Give the page of a package."""
    here = f"{package}.md"
    services = services_of(contracts, package)
    exchanged = {message for service in services for rpc in service.methods for message in _exchanged(rpc)}
    types = [
        message
        for file in files_of(contracts, package)
        for message in file.message_types_by_name.values()
        if message.full_name not in exchanged and not file.name.endswith("/messages.proto")
    ]
    blocks = [f"# {package}", "Generated from the contracts: [every call in one table](index.md)."]
    if services:
        names = [link(service.name, here, service.name, here=here) for service in services]
        blocks.append("Services: " + " · ".join(names) + " · [types](#types)")
    for service in services:
        blocks += _service(contracts, service, here=here, not_built=not_built)
    blocks.append("## Types")
    for message in sorted(types, key=lambda each: str(each.full_name)):
        blocks += list(type_blocks(contracts, message, here=here))
    for file in files_of(contracts, package):
        blocks += [_enum(contracts, enum) for enum in file.enum_types_by_name.values()]
    return page(*blocks)


def _exchanged(rpc: MethodDescriptor) -> tuple[str, str]:
    return rpc.input_type.full_name, rpc.output_type.full_name


def _service(contracts: Contracts, service: ServiceDescriptor, *, here: str, not_built: Collection[str]) -> list[str]:
    rows = [
        (
            link(rpc.name, here, rpc.name, here=here) + (" ¹" if rpc_id(rpc) in not_built else ""),
            rest_text(rpc),
            who_text(rpc),
            first_sentence(contracts.comments.get(rpc.full_name, "")),
        )
        for rpc in service.methods
    ]
    blocks = [f"## {service.name}", paragraphs(contracts.comments.get(service.full_name, ""))]
    blocks.append(table(("RPC", "REST", "who", "what"), rows))
    if any(rpc_id(rpc) in not_built for rpc in service.methods):
        blocks.append("¹ Published, not built yet: answers 501 [NOT_BUILT_YET](errors.md#not_built_yet).")
    for rpc in service.methods:
        blocks += _rpc(contracts, rpc, here=here, not_built=not_built)
    return blocks


def _rpc(contracts: Contracts, rpc: MethodDescriptor, *, here: str, not_built: Collection[str]) -> list[str]:
    rows = [
        ("gRPC", f"`{rpc.containing_service.full_name}/{rpc.name}`" + (", a stream" if rpc.server_streaming else "")),
        ("REST", rest_text(rpc)),
        ("who", who_text(rpc) + _roles(rpc)),
        ("answers", _answer(rpc)),
        ("repeated", _repetition(rpc)),
    ]
    if rpc_id(rpc) in not_built:
        rows.append(("built", "not yet: 501 [NOT_BUILT_YET](errors.md#not_built_yet)"))
    return [
        f"### {rpc.name}",
        linked_reasons(paragraphs(contracts.comments.get(rpc.full_name, ""))),
        table(("", ""), [row for row in rows if row[1]]),
        f"#### {rpc.input_type.name}",
        _placement(rpc),
        field_table(contracts, rpc.input_type, here=here),
        *within(contracts, rpc.input_type, here=here),
        f"#### {rpc.output_type.name}",
        field_table(contracts, rpc.output_type, here=here),
        *within(contracts, rpc.output_type, here=here),
    ]


def _roles(rpc: MethodDescriptor) -> str:
    permission = policy(rpc).permission
    roles = [role for role, permissions in ROLES.items() if permission in permissions]
    return f" ({', '.join(roles)})" if permission else ""


def _answer(rpc: MethodDescriptor) -> str:
    if not bindings(rpc):
        return ""
    rule = rest(rpc)
    if rule.no_content:
        return "204 without a body"
    return f"201 with `Location: {rule.location}`; 200 to a repetition" if rule.location else "200"


def _repetition(rpc: MethodDescriptor) -> str:
    if "request_id" in rpc.input_type.fields_by_name:
        return "safe with `request_id` (`Idempotency-Key` over REST)"
    reason = policy(rpc).no_request_id
    return f"safe: {one_line(reason)}" if reason else "safe: it reads"


def _placement(rpc: MethodDescriptor) -> str:
    """Say where over REST the fields stand that are not in the path."""
    found = bindings(rpc)
    if not found or not rpc.input_type.fields:
        return ""
    body = found[0].body
    if body == "*":
        return "Over REST the fields that are not in the path are the body."
    if body:
        return f"Over REST `{body}` is the body; the other fields that are not in the path are query parameters."
    return "Over REST the fields that are not in the path are query parameters."


def type_blocks(contracts: Contracts, message: Descriptor, *, here: str) -> Iterator[str]:
    """Give what is said of a message and of all within it."""
    yield f"### {short_name(message)}"
    yield paragraphs(contracts.comments.get(message.full_name, ""))
    if message.fields or not message.enum_types:
        yield field_table(contracts, message, here=here)
    yield from within(contracts, message, here=here)


def within(contracts: Contracts, message: Descriptor, *, here: str) -> Iterator[str]:
    """Give what is said of the types that stand within a message."""
    for enum in message.enum_types:
        if enum.full_name == REASONS:
            yield "The reasons are [a page of their own](errors.md)."
        else:
            yield _enum(contracts, enum)
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            yield from type_blocks(contracts, nested, here=here)


def _enum(contracts: Contracts, enum: EnumDescriptor) -> str:
    rows = [
        (f"`{value.name}`", one_line(contracts.comments.get(f"{enum.full_name}.{value.name}", "")))
        for value in enum.values
        if value.number
    ]
    comment = paragraphs(contracts.comments.get(enum.full_name, ""))
    return page(f"### {short_name(enum)}", comment, table(("value", "meaning"), rows)).rstrip()


def linked_reasons(comment: str) -> str:
    """Link the reasons that stand after "Fails with", but not the states that parentheses beside them name."""
    comment = re.sub(r"(?<!\n)\nFails with", "\n\nFails with", comment)
    pieces = re.split(r"(Fails with.*?(?:\n\s*\n|$))", comment, flags=re.DOTALL)
    return "".join(_linked(piece) if piece.startswith("Fails with") else piece for piece in pieces)


def _linked(text: str) -> str:
    result, end, depth = "", 0, 0
    for match in _WORD.finditer(text):
        depth = _depth(match[0], depth)
        if not depth and match[0] in _REASONS:
            result += text[end : match.start()] + f"[{match[0]}](errors.md#{anchor(match[0])})"
            end = match.end()
    return result + text[end:]


def _words(text: str) -> Iterator[tuple[str, int]]:
    depth = 0
    for match in _WORD.finditer(text):
        depth = _depth(match[0], depth)
        yield match[0], depth


def _depth(word: str, depth: int) -> int:
    """Count parentheses; a reason inside any is an explanation, not a way to fail."""
    return depth + 1 if word == "(" else depth - (word == ")")
