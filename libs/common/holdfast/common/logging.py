"""Structured logs: one JSON object a line, or lines for people, always to stderr.

Every line carries the service, and inside a call or a message the trace and the organization. Values under keys
that name secrets, and passwords in URLs, never appear.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson
import structlog

from holdfast.common.rpc_call import current_call
from holdfast.common.telemetry import current_trace_id

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED: Final = "[redacted]"
_SECRET_KEY: Final = re.compile(
    r"authorization|password|passwd|secret|token|dsn|api_?key|private_?key|cookie|credential", re.IGNORECASE
)
_URL_PASSWORD: Final = re.compile(r"(://[^\s:/@]*:)[^\s@/]*@")
_BEARER: Final = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]+")
_DEPTH_MAX: Final = 6
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_QUIET: Final = ("sqlalchemy.engine", "asyncio", "httpx", "httpcore", "opentelemetry", "nats", "grpc")


def configure(
    *,
    service: str,
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["json", "pretty"] = "json",  # noqa: A002 - as the setting is called
) -> None:
    """Set up logging for the process: structlog and the standard library's, through the same processors."""
    number = _LEVELS[level]

    def add_service(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        add_service,
        add_context,
    ]
    last: list[Processor]
    if format == "json":
        last = [structlog.processors.format_exc_info, redact, structlog.processors.EventRenamer("message"), _render]
    else:
        last = [redact, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="time")]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    logging.captureWarnings(capture=True)


def add_context(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Add the trace and the organization of the present call, unless the line names them itself."""
    trace_id = current_trace_id()
    if trace_id is not None:
        event.setdefault("trace_id", trace_id)
    call = current_call.get()
    if call is not None and call.organization_id:
        event.setdefault("organization_id", call.organization_id)
    return event


def redact(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Take secrets out of a line: values under telling keys, and passwords in URLs anywhere."""
    return {key: _redacted(key, value, _DEPTH_MAX) for key, value in event.items()}


def _redacted(key: Any, value: Any, depth: int) -> Any:
    if isinstance(key, str) and value is not None and _SECRET_KEY.search(key):
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if depth and isinstance(value, dict):
        return {inner: _redacted(inner, each, depth - 1) for inner, each in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_redacted(None, each, depth - 1) for each in value]
    return value


def redact_text(text: str) -> str:
    """Take passwords in URLs and bearer tokens out of a text."""
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1{REDACTED}@", text)
    if "earer" in text.lower():
        text = _BEARER.sub(rf"\1{REDACTED}", text)
    return text


def _render(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
