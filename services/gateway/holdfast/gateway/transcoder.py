"""REST ⇄ RPC, for one binding of the contract: path, query, body and headers → request; response → answer.

Everything is compiled from the descriptors when the gateway starts. No I/O happens here, and no rule of the business:
what the contract validates is the service's to refuse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson
from google.protobuf.message_factory import GetMessageClass

from holdfast.api.common.v1 import policy_pb2
from holdfast.common.errors import invalid
from holdfast.gateway import json_values as values
from holdfast.gateway.answers import Answer
from holdfast.gateway.json_reader import JsonReader, Reading, scalar_reader
from holdfast.gateway.json_text import malformed, parse_object
from holdfast.gateway.json_writer import JsonWriter
from holdfast.gateway.query import QueryReader, text_converter
from holdfast.gateway.revalidation import CACHE_CONTROL, is_known, known_tags
from holdfast.gateway.routes import RouteConflict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

    from holdfast.gateway.routes import Binding

IDEMPOTENCY_KEY_LENGTH_MAX: Final = 255
JSON: Final = (b"content-type", b"application/json")

_LOCATION_VARIABLE: Final = re.compile(r"\{([a-z0-9_.]+)\}")
_ETAG: Final = re.compile(r'(?:W/)?"([\x21\x23-\x7e]*)"')
_BARE_ETAG: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x7e]+")


@dataclass(slots=True)
class Arrived:
    """What of an HTTP request becomes the RPC's request. Headers by lower-case name; absent ones are None."""

    variables: Sequence[str]
    query: bytes
    body: bytes
    content_type: bytes | None
    idempotency_key: bytes | None
    if_match: bytes | None
    if_none_match: bytes | None = None


class Endpoint:
    """One compiled binding."""

    def __init__(self, binding: Binding, readers: JsonReader, writers: JsonWriter) -> None:
        rpc = binding.rpc
        self.binding = binding
        self.rpc = rpc
        self.path = f"{rpc.containing_service.full_name}/{rpc.name}"
        self.request_class: Any = GetMessageClass(rpc.input_type)
        self.response_class: Any = GetMessageClass(rpc.output_type)
        policy = rpc.GetOptions().Extensions[policy_pb2.policy]
        self.public: bool = policy.public
        rest = rpc.GetOptions().Extensions[policy_pb2.rest]
        self.shared: bool = rest.shared
        self._encoded: tuple[Any, bytes] = (None, b"")
        self._no_content: bool = rest.no_content
        self._location = _location(rest.location) if rest.location else None
        self._etag = _etag_of(rpc.output_type)
        kinds = policy_pb2.Rest.Revalidation
        kind = rest.revalidation if binding.method == "GET" else kinds.REVALIDATION_UNSPECIFIED
        self.revalidates: bool = kind != kinds.REVALIDATION_UNSPECIFIED
        self._tag_mark = b"W/" if kind == kinds.WEAK else b""
        self._write = writers.of(rpc.output_type)
        fields = rpc.input_type.fields_by_name
        self.takes_request_id = "request_id" in fields
        self.takes_etag = "etag" in fields
        self.takes_body = bool(binding.body)
        self._body_field: str | None = None
        self._masked = False
        body_type = rpc.input_type
        if binding.body not in {"", "*"}:
            body_type = _message_field(rpc.input_type, binding.body)
            self._body_field = binding.body
            self._masked = "update_mask" in fields
        self._read_body = readers.of(body_type) if binding.body else None
        self._names = {name: f.name for f in body_type.fields for name in (f.name, f.json_name)}
        self._variables = [_variable_setter(rpc.input_type, path) for path in binding.variables]
        bound = {*binding.variables, binding.body}
        everything = frozenset(f.name for f in rpc.input_type.fields) if binding.body == "*" else frozenset()
        self._query = QueryReader(readers, rpc.input_type, bound=bound | everything)

    def request(self, arrived: Arrived) -> Message:
        """Build the RPC's request. Raises VALIDATION_FAILED with every fault, or MALFORMED_BODY."""
        message = self.request_class()
        reading = Reading()
        if arrived.body and not self.takes_body:
            raise malformed("", "this call takes no body")
        named = self._body(arrived, message, reading)
        self._query.read(arrived.query, message, reading)
        if named and not message.update_mask.paths:
            message.update_mask.paths.extend(named)
        for setter, text in zip(self._variables, arrived.variables, strict=True):
            setter(message, text, reading)
        reading.raise_faults()
        if arrived.idempotency_key is not None:
            self._idempotency_key(message, arrived.idempotency_key)
        if arrived.if_match is not None:
            self._if_match(message, arrived.if_match)
        return message  # type: ignore[no-any-return]  # made by the descriptor's class

    def known(self, arrived: Arrived) -> frozenset[bytes]:
        """Give the etags of answers that the client has already. Raises VALIDATION_FAILED."""
        if arrived.if_none_match is None or (self.binding.method == "GET" and not self.revalidates):
            return frozenset()  # an answer that tells more than its etag covers is always a new one
        if not self.revalidates:
            raise invalid("If-None-Match", "this call cannot be made conditional so")
        return known_tags(arrived.if_none_match)

    def _body(self, arrived: Arrived, message: Any, reading: Reading) -> Sequence[str]:
        """Read the body; gives the resource's fields that it names, where an update needs to know them."""
        read, body = self._read_body, arrived.body
        if read is None:
            return ()
        if self._body_field is None:
            # The path may say all there is to say: `POST …/publish` needs no `{}`. But whoever announces JSON and sends
            # nothing has lost it on the way.
            if body or arrived.content_type is not None:
                read(parse_object(body), message, None, reading)
            return ()
        given = parse_object(body)
        child = getattr(message, self._body_field)
        child.SetInParent()
        read(given, child, (None, self._body_field), reading)
        if self._masked:
            # Which fields the body names, in an order that a repetition with the same fields repeats. Only so are
            # null and [] an order to clear the field instead of looking like its absence.
            return sorted({self._names[key] for key in given if key in self._names})
        return ()

    def _idempotency_key(self, message: Any, header: bytes) -> None:
        if not header or len(header) > IDEMPOTENCY_KEY_LENGTH_MAX:
            raise invalid("Idempotency-Key", f"must have 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} characters")
        if not header.isascii():
            raise invalid("Idempotency-Key", "must be ASCII")
        if not self.takes_request_id:
            return  # such a call changes nothing, or is idempotent by itself: repeating it is safe as it is
        key = header.decode("ascii")
        if message.request_id and message.request_id != key:
            raise invalid("request_id", "differs from the Idempotency-Key header")
        message.request_id = key

    def _if_match(self, message: Any, header: bytes) -> None:
        if not self.takes_etag:
            raise invalid("If-Match", "this call cannot be made conditional")
        text = header.decode("latin-1").strip()
        if text == "*":
            return  # whatever the resource is now; that it exists is checked anyway
        match = _ETAG.fullmatch(text)
        etag = match[1] if match else text if _BARE_ETAG.fullmatch(text) else ""
        if not etag:
            raise invalid("If-Match", "must be one etag, or *")
        if message.etag and message.etag != etag:
            raise invalid("etag", "differs from the If-Match header")
        message.etag = etag

    def answer(self, response: Any, *, replayed: bool, known: frozenset[bytes] = frozenset()) -> Answer:
        """Give the answer of a successful call: without a body if its etag is `known` to the client."""
        headers: list[tuple[bytes, bytes]] = []
        if replayed:
            headers.append((b"idempotency-replayed", b"true"))
        if self._no_content:
            return Answer(status=204, headers=headers)
        if self.revalidates:
            headers.append(CACHE_CONTROL)
        if self._etag is not None:
            etag = self._etag(response)
            if etag:
                tag = b'"' + etag.encode("ascii", "replace") + b'"'
                headers.append((b"etag", self._tag_mark + tag))
                if known and is_known(tag, known):
                    return Answer(status=304, headers=headers)
        headers.append(JSON)
        status = 200
        if self._location is not None:
            headers.append((b"location", self._location(response)))
            status = 200 if replayed else 201
        return Answer(status=status, headers=headers, body=self._encode(response))

    def _encode(self, response: Any) -> bytes:
        """Give the body. Who shared a call shares its response, which is written once for them."""
        if not self.shared:
            return orjson.dumps(self._write(response))
        if self._encoded[0] is not response:
            self._encoded = (response, orjson.dumps(self._write(response)))
        return self._encoded[1]


def compile_endpoints(bindings: Sequence[Binding]) -> Mapping[tuple[str, str], Endpoint]:
    """Compile every binding, by method and template; a contract that cannot be transcoded stops the start."""
    readers, writers = JsonReader(), JsonWriter()
    return {(each.method, each.template): Endpoint(each, readers, writers) for each in bindings}


def _message_field(descriptor: Descriptor, name: str) -> Descriptor:
    field = descriptor.fields_by_name.get(name)
    if field is None or field.message_type is None or field.is_repeated:
        raise RouteConflict(f"{descriptor.full_name} has no single message {name} to be the body")
    return field.message_type


def _variable_setter(descriptor: Descriptor, path: str) -> Callable[[Any, str, Reading], None]:
    """Make what sets a path variable. A body that says the same is fine, one that says otherwise is refused."""
    *parents, name = path.split(".")
    owner = reduce(_message_field, parents, descriptor)
    field: FieldDescriptor | None = owner.fields_by_name.get(name)
    if field is None:
        raise RouteConflict(f"{descriptor.full_name} has no field {path}")
    target = field
    read, convert = scalar_reader(target), text_converter(target)

    def set_variable(message: Any, text: str, reading: Reading) -> None:
        for parent in parents:
            message = getattr(message, parent)
        try:
            value = read(convert(text))
        except values.Refused as refused:
            reading.refuse((None, path), str(refused))
            return
        present = message.HasField(name) if target.has_presence else bool(getattr(message, name))
        if present and getattr(message, name) != value:
            reading.refuse((None, path), "differs from the path")
            return
        setattr(message, name, value)

    return set_variable


def _location(template: str) -> Callable[[Any], bytes]:
    variables = [attrgetter(path) for path in _LOCATION_VARIABLE.findall(template)]
    form = _LOCATION_VARIABLE.sub("%s", template.replace("%", "%%"))

    def write(response: Any) -> bytes:
        return (form % tuple([quote(str(get(response)), safe="") for get in variables])).encode("ascii")

    return write


def _etag_of(descriptor: Descriptor) -> Callable[[Any], str] | None:
    """Give what reads the etag of a response: that of the first single resource in it."""
    for field in descriptor.fields:
        message = field.message_type
        if message is not None and not field.is_repeated and "etag" in message.fields_by_name:
            return attrgetter(f"{field.name}.etag")
    return None
