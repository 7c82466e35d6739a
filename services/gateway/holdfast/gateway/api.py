"""The REST API: every request that is not an operational one passes here, in one pass.

Route, token, rate limit, protocol, body, request, RPC, answer; trace and metrics beside. No framework: its layers
would cost more than all of this.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

import structlog
from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind, Status, StatusCode

from holdfast.common.errors import DomainError, Reason, invalid
from holdfast.common.rpc_policy import ANONYMOUS
from holdfast.gateway.answers import Answer
from holdfast.gateway.auth import token_invalid
from holdfast.gateway.body import ClientGoneError, ClientTooSlowError
from holdfast.gateway.callers import Caller
from holdfast.gateway.outside import outside
from holdfast.gateway.problems import internal_error, problem
from holdfast.gateway.transcoder import Arrived, Endpoint, compile_endpoints

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from holdfast.common.mesh_identity import Principal
    from holdfast.common.telemetry import Telemetry
    from holdfast.gateway.auth import Authenticator
    from holdfast.gateway.clients import Clients
    from holdfast.gateway.cors import Cors
    from holdfast.gateway.exchange import Exchange
    from holdfast.gateway.limits import RateLimiter
    from holdfast.gateway.measures import Measures
    from holdfast.gateway.routes import Routes

CLIENT_TOO_SLOW: Final = 408
REFUSED: Final = 400
SERVER_FAULT: Final = 500

_SECONDS: Final = re.compile(rb"[0-9]{1,6}(?:\.[0-9]{1,6})?")

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

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        started = time.perf_counter()
        headers, method = exchange.headers, exchange.method
        context, traceparent, span = self._telemetry.arrive(
            _text(headers.get(b"traceparent")), f"HTTP {method}", kind=SpanKind.SERVER
        )
        otel_context.attach(context)  # each request runs in a task of its own: nothing to detach
        trace_id = traceparent[3:35]
        route = "none"
        try:
            endpoint, variables = self._find(exchange)
            route = endpoint.binding.template
            caller = Caller(traceparent, recorded=span is not None, gone=exchange.gone)
            answer = await self._answer(endpoint, variables, exchange, caller)
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
        if answer.status >= REFUSED and not await exchange.body.discard():
            exchange.keep_alive = False
        await exchange.answer(answer)
        self._end(span, method, route, answer.status)
        self._measures.answered(
            method=method if route != "none" else "none",
            route=route,
            status=answer.status,
            seconds=time.perf_counter() - started,
        )

    def _find(self, exchange: Exchange) -> tuple[Endpoint, list[str]]:
        if exchange.repeated:
            raise invalid(exchange.repeated, "given more than once")
        try:
            binding, variables = self._routes.match(exchange.method, exchange.raw_path)
        except DomainError as error:
            raise outside(exchange.raw_path) or error from None
        return self.endpoints[binding.method, binding.template], variables

    async def _answer(self, endpoint: Endpoint, variables: list[str], exchange: Exchange, caller: Caller) -> Answer:
        headers = exchange.headers
        principal = await self._principal(endpoint, headers.get(b"authorization"))
        await self._limiter.check(principal)
        deadline_seconds = self._deadline_seconds(headers.get(b"request-timeout"))
        body = await exchange.body.read(seconds_max=self._read_seconds_max, bytes_max=self._body_bytes_max)
        arrived = Arrived(
            variables=variables,
            query=exchange.query,
            body=body,
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


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
