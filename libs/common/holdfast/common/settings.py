"""Environment → typed settings.

Every variable starts with `HOLDFAST_`. A missing, malformed or unknown one stops the start with exit code 2 and
one line per fault that names the variable, never its value. This is the only module that reads the environment.
"""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path  # noqa: TC003 - pydantic reads it at run time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, get_origin, overload
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydantic.fields import FieldInfo

PREFIX: Final = "HOLDFAST_"
PORT_MAX: Final = 65535
PAGE_TOKEN_KEY_LENGTH_MIN: Final = 32
LEFTOVER_PASSWORDS: Final = frozenset({"holdfast", "postgres", "password", "secret", "changeme", "change-me", "dev"})

A = TypeVar("A", bound="Settings")
B = TypeVar("B", bound="Settings")
D = TypeVar("D", bound="Settings")


def host_port(text: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`; ValueError without the value when it is neither."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise ValueError("must be host:port, with a port from 0 to 65535")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _listen(text: str) -> str:
    host_port(text)
    return text


def _targets(text: str) -> str:
    targets = [part.strip() for part in text.split(",")]
    for target in targets:
        if host_port(target)[1] == 0:
            raise ValueError("must be host:port, or several separated by commas; 0 is no port")
    return ",".join(targets)


def _dsn(secret: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(secret.get_secret_value())
        complete = bool(parts.scheme in {"postgresql", "postgres"} and parts.username and parts.path.strip("/"))
        complete = complete and (bool(parts.hostname) or "host" in parse_qs(parts.query))
        _ = parts.port
    except ValueError:
        complete = False
    if not complete:
        raise ValueError("must be postgresql://user:password@host:port/database")
    return secret


def _url(*schemes: str) -> AfterValidator:
    def check(text: str) -> str:
        for part in text.split(","):
            try:
                parts = urlsplit(part.strip())
                valid = parts.scheme in schemes and bool(parts.hostname)
                _ = parts.port
            except ValueError:
                valid = False
            if not valid:
                raise ValueError(f"must be a URL of {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return text

    return AfterValidator(check)


ListenAddress = Annotated[str, AfterValidator(_listen)]
"""`host:port` to listen on; port 0 lets the system choose."""
Targets = Annotated[str, AfterValidator(_targets)]
"""`host:port` of a service, several replicas separated by commas."""
DatabaseDsn = Annotated[SecretStr, AfterValidator(_dsn)]
"""A libpq URL."""


class Settings(BaseSettings):
    """What all settings share: read from the environment only, frozen, empty means absent."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    def production_faults(self) -> Iterator[tuple[str, str]]:
        """Give (field, what is wrong) for everything that production refuses."""
        return iter(())


class MeshSettings(Settings):
    """What all services of a mesh share."""

    model_config = SettingsConfigDict(env_prefix=PREFIX)

    mode: Literal["development", "production"] = Field(
        default="development", description="production refuses plaintext connections and development leftovers."
    )
    nats_url: Annotated[str, _url("nats", "tls")] = Field(
        default="nats://127.0.0.1:4222",
        description="NATS servers with JetStream, separated by commas; tls:// in production.",
    )
    cache_url: Annotated[str, _url("redis", "rediss")] = Field(
        default="redis://127.0.0.1:6379/0",
        description="Valkey or Redis, a cache only: the mesh sells without it; rediss:// in production.",
    )
    identity_dir: Path = Field(
        description="Directory of certificates: ca.crt, <service>.crt, <service>.key. Read anew when they change."
    )
    events_address: Targets = Field(
        default="127.0.0.1:50051", description="Where the events service listens; replicas separated by commas."
    )
    capacity_address: Targets = Field(
        default="127.0.0.1:50052", description="Where the capacity service listens; replicas separated by commas."
    )
    pricing_address: Targets = Field(
        default="127.0.0.1:50053", description="Where the pricing service listens; replicas separated by commas."
    )
    page_token_key: SecretStr = Field(
        min_length=PAGE_TOKEN_KEY_LENGTH_MIN,
        description="Signs page tokens; at least 32 characters, the same in all replicas of a service.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least level that is logged."
    )
    log_format: Literal["json", "pretty"] = Field(
        default="json", description="One JSON object a line, or lines for people."
    )
    trace_endpoint: ListenAddress | None = Field(
        default=None,
        description="OTLP/gRPC collector, host:port, reached without TLS: keep it on this host. None: no export.",
    )
    trace_sample_ratio: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of traces begun here that are recorded; a caller's decision is kept.",
    )
    reflection: bool = Field(default=False, description="Whether the services answer gRPC reflection.")
    rpc_deadline_seconds_default: float = Field(
        default=5.0, gt=0, le=300, description="Deadline of calls that come without one, seconds."
    )
    rpc_streams_max: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Streams that go on until their callers leave, such as WatchAvailability, a process serves at once;"
        " more are refused with OVERLOADED.",
    )
    rpc_streams_of_caller_max: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="How many of these streams may be of one caller: a subject in its organization.",
    )
    rpc_in_flight_max: int = Field(
        default=1000, ge=1, le=100_000, description="Calls a service works on at once; more are refused immediately."
    )

    def production_faults(self) -> Iterator[tuple[str, str]]:
        """Refuse plaintext to NATS, the cache and a collector on another host."""
        if any(urlsplit(part.strip()).scheme != "tls" for part in self.nats_url.split(",")):
            yield "nats_url", "must be tls:// in production"
        if urlsplit(self.cache_url).scheme != "rediss":
            yield "cache_url", "must be rediss:// in production"
        if self.trace_endpoint is not None and not is_loopback(host_port(self.trace_endpoint)[0]):
            yield "trace_endpoint", "must be on this host in production; run a collector beside the service"
        if self.log_level == "debug":
            yield "log_level", "must be info or above in production"
        if len(set(self.page_token_key.get_secret_value())) < PAGE_TOKEN_KEY_LENGTH_MIN // 4:
            yield "page_token_key", "must be random in production"


class ServiceSettings(Settings):
    """What every service with a database has; each subclasses it with its own prefix, ports and variables."""

    listen: ListenAddress = Field(description="Where gRPC listens; port 0 lets the system choose.")
    metrics_listen: ListenAddress = Field(description="Where /metrics and /health/… listen, plain HTTP.")
    drain_seconds: float = Field(
        default=10.0,
        ge=0,
        le=300,
        description="How long calls in flight may take to end when the service stops, seconds.",
    )
    database_dsn: DatabaseDsn = Field(
        description="postgresql://… of the service's role, to which row security applies."
    )
    relay_dsn: DatabaseDsn = Field(
        description="postgresql://… of the relay's role, which sees only what is to be sent."
    )
    migration_dsn: DatabaseDsn | None = Field(
        default=None, description="postgresql://… of the schema's owner; only `migrate` needs it."
    )
    admin_dsn: DatabaseDsn | None = Field(
        default=None,
        description="postgresql://… of a role that may create roles; only `migrate` uses it, if it is given.",
    )
    database_pool_size: int = Field(default=10, ge=1, le=500, description="Connections to the database at most.")

    def production_faults(self) -> Iterator[tuple[str, str]]:
        """Refuse databases without TLS and passwords left from development."""
        for name, value in self:
            if isinstance(value, SecretStr) and name.endswith("_dsn"):
                yield from ((name, fault) for fault in _dsn_faults(urlsplit(value.get_secret_value())))


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _dsn_faults(dsn: SplitResult) -> Iterator[str]:
    query = parse_qs(dsn.query)
    if dsn.hostname and query.get("sslmode", [""])[-1] not in {"require", "verify-ca", "verify-full"}:
        yield "needs sslmode=verify-full (or require, verify-ca) in production"
    if (dsn.password or "").lower() in LEFTOVER_PASSWORDS | {(dsn.username or "").lower()}:
        yield "has a password that must not be used in production"


@overload
def load(first: type[A], /) -> tuple[A]: ...
@overload
def load(first: type[A], second: type[B], /) -> tuple[A, B]: ...
@overload
def load(first: type[A], second: type[B], third: type[D], /) -> tuple[A, B, D]: ...
def load(*classes: type[Settings]) -> tuple[Settings, ...]:
    """Read settings from the environment, one object for each class.

    On any fault prints one line for each to stderr, `HOLDFAST_EVENTS_DATABASE_DSN: missing`, and raises
    SystemExit(2). In production mode that includes everything the settings' `production_faults` name.
    """
    loaded: list[Settings] = []
    faults: list[str] = list(_unknown_variables(classes))
    for each in classes:
        try:
            loaded.append(each())
        except ValidationError as error:
            faults.extend(_fault_lines(each, error))
        except SettingsError:
            faults.append(f"{each.model_config.get('env_prefix')}*: a value cannot be parsed")
    if not faults and any(isinstance(each, MeshSettings) and each.mode == "production" for each in loaded):
        for settings in loaded:
            faults.extend(f"{variable(type(settings), name)}: {fault}" for name, fault in settings.production_faults())
    if faults:
        sys.stderr.write("".join(f"{line}\n" for line in dict.fromkeys(faults)))
        raise SystemExit(2)
    return tuple(loaded)


def variable(settings: type[BaseSettings], field: str) -> str:
    """Give the name of the environment variable that sets a field."""
    return f"{settings.model_config.get('env_prefix', '')}{field}".upper()


def _fault_lines(settings: type[BaseSettings], error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        name = variable(settings, str(fault["loc"][0])) if fault["loc"] else settings.__name__
        if fault["type"] == "missing":
            yield f"{name}: missing"
        else:
            message = fault["msg"].removeprefix("Value error, ")
            yield f"{name}: {message[:1].lower()}{message[1:]}"


def _unknown_variables(classes: Iterable[type[BaseSettings]]) -> Iterator[str]:
    """Name variables that look meant for these settings but are none: a misspelt one must not be ignored."""
    classes = tuple(classes)
    everything: tuple[type[BaseSettings], ...] = (MeshSettings, *classes)
    known = {variable(each, field) for each in everything for field in each.model_fields}
    own = tuple(prefix for each in classes if (prefix := each.model_config.get("env_prefix", "")) != PREFIX)
    short = [name.removeprefix(PREFIX) for name in known]
    for name in os.environ:
        if not name.startswith(PREFIX) or name in known:
            continue
        close = difflib.get_close_matches(name.removeprefix(PREFIX), short, n=1, cutoff=0.88)
        if name.startswith(own) or (close and not _of_another(name, close[0])):
            yield f"{name}: unknown{f', is it {PREFIX}{close[0]}?' if close else ''}"


def _of_another(name: str, close: str) -> bool:
    """Tell whether a variable is another service's, like HOLDFAST_PRICING_LISTEN to the events service."""
    word = name.removeprefix(PREFIX).split("_", maxsplit=1)[0]
    return word != close.split("_", maxsplit=1)[0] and word in {"EVENTS", "CAPACITY", "PRICING", "GATEWAY", "LOCAL"}


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable, for the reference."""

    name: str
    type: str
    default: str | None
    """As it would be written in the environment; None when the variable is required or has no default."""
    required: bool
    secret: bool
    description: str


def describe(*classes: type[BaseSettings]) -> Sequence[Variable]:
    """List the variables of some settings in the order of their fields."""
    return [_describe(each, name, field) for each in classes for name, field in each.model_fields.items()]


def _describe(settings: type[BaseSettings], name: str, field: FieldInfo) -> Variable:
    required = field.is_required()
    default = None if required or field.default is None else str(field.default)
    text = _type_text(field.annotation)
    return Variable(
        name=variable(settings, name),
        type=text,
        default=default.lower() if isinstance(field.default, bool) and default else default,
        required=required,
        secret="secret" in text,
        description=field.description or "",
    )


def _type_text(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(str(value) for value in annotation.__args__)
    arguments = [each for each in getattr(annotation, "__args__", ()) if each is not type(None)]
    if arguments:
        return _type_text(arguments[0])
    names = {"str": "text", "SecretStr": "secret", "int": "whole number", "float": "number", "bool": "true or false"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name.lower())
