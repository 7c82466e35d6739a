"""The REST API as a bare ASGI application: every request that is not an operational one passes here, in one pass.

Route, token, rate limit, protocol, body, request, RPC, answer; trace and metrics beside. No framework: its layers
would cost more than all of this.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from holdfast.common.errors import DomainError, Reason, invalid
from holdfast.common.rpc_policy import ANONYMOUS
from holdfast.common.telemetry import format_traceparent
from holdfast.gateway.answers import Answer
from holdfast.gateway.auth import token_invalid
from holdfast.gateway.body import Body, ClientGoneError, ClientTooSlowError
from holdfast.gateway.callers import Caller
from holdfast.gateway.outside import outside
from holdfast.gateway.problems import internal_error, problem
from holdfast.gateway.protocol import GONE
from holdfast.gateway.transcoder import Arrived, Endpoint, compile_endpoints

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from opentelemetry.trace import Span

    from holdfast.common.mesh_identity import Principal
    from holdfast.common.telemetry import Telemetry
    from holdfast.gateway.auth import Authenticator
    from holdfast.gateway.clients import Clients
    from holdfast.gateway.cors import Cors
    from holdfast.gateway.limits import RateLimiter
    from holdfast.gateway.measures import Measures
    from holdfast.gateway.routes import Routes

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CLIENT_TOO_SLOW: Final = 408
REFUSED: Final = 400
SERVER_FAULT: Final = 500

_SECONDS: Final = re.compile(rb"[0-9]{1,6}(?:\.[0-9]{1,6})?")
_ONCE: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"idempotency-key",
        b"if-match",
        b"if-none-match",
        b"origin",
        b"request-timeout",
        b"traceparent",
        b"transfer-encoding",
    }
)
"""The headers that are read at all. Whatever else a client sends, such as a principal of its own, is not looked at."""

logger = structlog.get_logger(__name__)


class Api:
    """Answers API requests. Everything it needs is made in the composition root."""

    def __init__(  # noqa: PLR0913 - the composition root names each of them
        self,
        *,
        routes: Routes,
        clients: Clients,
        authenticator: Authenticator,
        limiter: RateLimiter,
        telemetry: Telemetry,
        measures: Measures,
        cors: Cors,
        request_seconds_max: float,
        read_seconds_max: float,
        body_bytes_max: int,
    ) -> None:
        self._routes = routes
        self.endpoints = compile_endpoints(routes.bindings)
        self._clients = clients
        self._authenticator = authenticator
        self._limiter = limiter
        self._telemetry = telemetry
        self._measures = measures
        self._cors = cors
        self._request_seconds_max = request_seconds_max
        self._read_seconds_max = read_seconds_max
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        headers, repeated = _headers(scope["headers"])
        context = self._telemetry.server_context(_text(headers.get(b"traceparent")))
        method: str = scope["method"]
        span = self._telemetry.begin(f"HTTP {method}", kind=SpanKind.SERVER, context=context)
        if span is not None:
            context = trace.set_span_in_context(span, context)
        otel_context.attach(context)  # uvicorn runs each request in a task of its own: nothing to detach
        span_context = trace.get_current_span(context).get_span_context()
        traceparent = format_traceparent(span_context)
        trace_id = traceparent[3:35]
        route = "none"
        body = Body(headers, receive, bytes_max=self._body_bytes_max)
        try:
            endpoint, variables = self._find(scope, repeated)
            route = endpoint.binding.template
            caller = Caller(traceparent, recorded=span is not None, gone=scope["extensions"][GONE])
            answer = await self._answer(endpoint, variables, scope, body, caller)
        except ClientGoneError:
            self._end(span, method, route, None)
            return
        except DomainError as error:
            answer = self._refusal(error, method, trace_id)
        except Exception:
            logger.exception("request failed", method=method, route=route, trace_id=trace_id)
            answer = problem(internal_error(), trace_id=trace_id)
        answer.headers += (
            (b"x-request-id", trace_id.encode()),
            (b"traceparent", traceparent.encode()),
        )
        if self._cors.enabled:
            self._cors.allow(answer, headers.get(b"origin"))
        if answer.status >= REFUSED and not await body.discard():
            answer.headers.append((b"connection", b"close"))
        await _send(send, answer, head=method == "HEAD")
        self._end(span, method, route, answer.status)
        self._measures.answered(
            method=method if route != "none" else "none",
            route=route,
            status=answer.status,
            seconds=time.perf_counter() - started,
        )

    def _find(self, scope: Scope, repeated: str) -> tuple[Endpoint, list[str]]:
        if repeated:
            raise invalid(repeated, "given more than once")
        try:
            binding, variables = self._routes.match(scope["method"], scope["raw_path"])
        except DomainError as error:
            raise outside(scope["raw_path"]) or error from None
        return self.endpoints[binding.method, binding.template], variables

    async def _answer(
        self, endpoint: Endpoint, variables: list[str], scope: Scope, body: Body, caller: Caller
    ) -> Answer:
        headers = body.headers
        principal = await self._principal(endpoint, headers.get(b"authorization"))
        await self._limiter.check(principal)
        deadline_seconds = self._deadline_seconds(headers.get(b"request-timeout"))
        arrived = Arrived(
            variables=variables,
            query=scope["query_string"],
            body=await body.read(seconds_max=self._read_seconds_max),
            content_type=headers.get(b"content-type"),
            idempotency_key=headers.get(b"idempotency-key"),
            if_match=headers.get(b"if-match"),
            if_none_match=headers.get(b"if-none-match"),
        )
        request = endpoint.request(arrived)
        known = endpoint.known(arrived)
        response, replayed = await self._clients.call(
            endpoint,
            request,
            principal=principal,
            deadline_seconds=deadline_seconds,
            caller=caller,
        )
        return endpoint.answer(response, replayed=replayed, known=known)

    def _refusal(self, error: DomainError, method: str, trace_id: str) -> Answer:
        if error.reason is Reason.METHOD_NOT_ALLOWED and method == "OPTIONS":
            return Answer(status=204, headers=[(b"allow", error.metadata["allowed"].encode())])
        status = CLIENT_TOO_SLOW if isinstance(error, ClientTooSlowError) else None
        return problem(error, trace_id=trace_id, status=status)

    async def _principal(self, endpoint: Endpoint, authorization: bytes | None) -> Principal:
        """Judge the token; one that is sent is judged also where none is needed."""
        if authorization is None:
            if endpoint.public:
                return ANONYMOUS
            raise token_invalid()
        return self._authenticator.remembered(authorization) or await self._authenticator.authenticate(authorization)

    def _deadline_seconds(self, header: bytes | None) -> float:
        if header is None:
            return self._request_seconds_max
        seconds = float(header) if _SECONDS.fullmatch(header) else 0.0
        if not seconds:
            raise invalid("Request-Timeout", "must be seconds, such as 2 or 0.5")
        return min(seconds, self._request_seconds_max)

    def _end(self, span: Span | None, method: str, route: str, status: int | None) -> None:
        if span is None:
            return
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.request.method": method, "http.route": route})
        if status is not None:
            span.set_attribute("http.response.status_code", status)
            if status >= SERVER_FAULT:
                span.set_status(Status(StatusCode.ERROR))
        span.end()


def _headers(pairs: list[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], str]:
    """Give the headers that are read, and the name of one that came twice where that has no meaning."""
    found: dict[bytes, bytes] = {}
    repeated = ""
    for name, value in pairs:
        if name in _ONCE:
            if name in found and name == b"if-none-match":
                found[name] += b", " + value  # a list may come in several lines
                continue
            if name in found and name != b"traceparent":
                repeated = name.decode("ascii")
            found[name] = value
    return found, repeated


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


async def _send(send: Send, answer: Answer, *, head: bool) -> None:
    headers = answer.headers
    if answer.status not in {204, 304}:  # those have no content, and no length either
        headers = [*headers, (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})
