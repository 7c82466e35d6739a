"""One channel to a peer, made anew when the certificates change; and its service config."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, Self

import grpc
import structlog

from holdfast.common.contracts import contract_services
from holdfast.common.mesh_identity import server_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from holdfast.common.mesh_identity import MeshIdentity

ATTEMPTS_MAX: Final = 3
RELOAD_CHECK_SECONDS: Final = 15.0
CONNECT_SECONDS_MAX: Final = 2
DRAIN_SECONDS: Final = 30.0
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""As the servers' limit: a batch's outcomes are longer than its lines."""

logger = structlog.get_logger(__name__)


def service_config(name: str) -> str:
    """Give the gRPC service config for a peer: load balancing by round robin over healthy replicas, bounded retries.

    gRPC repeats what the contract makes repeatable as it is: RPCs with one answer whose request has no `request_id`.
    The others are repeated by `Peer.call`, if the request has one.
    """
    repeatable = [
        {"service": service.full_name, "method": method.name}
        for service in contract_services(name)
        for method in service.methods
        if "request_id" not in method.input_type.fields_by_name and not method.server_streaming
    ]
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},
        "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.1},
        "methodConfig": [],
    }
    if repeatable:
        config["methodConfig"].append(
            {
                "name": repeatable,
                "retryPolicy": {
                    "maxAttempts": ATTEMPTS_MAX,
                    "initialBackoff": "0.02s",
                    "maxBackoff": "0.2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        )
    return json.dumps(config)


class Method:
    """One RPC as stubs see it; finds its channel's present connection at each call."""

    __slots__ = ("_arguments", "_bound", "_channel", "_generation", "_kind", "path")

    def __init__(self, channel: MeshChannel, kind: str, path: str, arguments: dict[str, Any]) -> None:
        self.path = path
        self._channel = channel
        self._kind = kind
        self._arguments = arguments
        self._generation = -1
        self._bound: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call, as gRPC's multi-callable does."""
        if self._generation != self._channel.generation:
            connection = self._channel.connection
            self._bound = getattr(connection, self._kind)(self.path, **self._arguments)
            self._generation = self._channel.generation
        return self._bound(*args, **kwargs)


class MeshChannel(grpc.aio.Channel):
    """A channel to a mesh service that outlives a change of certificates.

    Stubs made on it stay valid: their methods follow it to the new connection, while calls on the old one end there.
    """

    def __init__(self, *, name: str, target: str, identity: MeshIdentity) -> None:
        self.generation = 0
        self._name = name
        self._target = target_uri(target)
        self._identity = identity
        self._version: tuple[int, ...] = ()
        self._connection: grpc.aio.Channel | None = None
        self._draining: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None

    @property
    def connection(self) -> grpc.aio.Channel:
        """The present gRPC channel."""
        if self._connection is None:
            raise RuntimeError(f"the channel to {self._name} is not started")
        return self._connection

    def start(self) -> None:
        """Make the channel and begin to connect."""
        self._version = self._identity.version()
        self._connection = self._connect()
        self._connection.get_state(try_to_connect=True)
        self._watch = asyncio.create_task(self._follow_certificates(), name=f"certificates-{self._name}")

    def reload(self) -> None:
        """Go over to a new connection with the certificates as they are now; the old one ends with its calls."""
        version = self._identity.version()
        old, self._connection = self.connection, self._connect()
        self._version = version
        self.generation += 1
        task = asyncio.create_task(old.close(DRAIN_SECONDS))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)
        logger.info("mesh certificate taken over", peer=self._name)

    def _connect(self) -> grpc.aio.Channel:
        options = (
            ("grpc.service_config", service_config(self._name)),
            ("grpc.service_config_disable_resolution", 1),
            ("grpc.enable_retries", 1),
            ("grpc.ssl_target_name_override", server_name(self._name)),
            ("grpc.default_authority", server_name(self._name)),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.initial_reconnect_backoff_ms", 50),
            # In spite of its name, the time that an attempt to connect has: handshakes are slow on a busy machine.
            ("grpc.min_reconnect_backoff_ms", CONNECT_SECONDS_MAX * 1_000),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
            ("grpc.use_local_subchannel_pool", 1),  # A new channel must not take over a connection of the old one.
        )
        return grpc.aio.secure_channel(self._target, self._identity.channel_credentials(), options=options)

    async def _follow_certificates(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_CHECK_SECONDS)
            version = self._identity.version()
            if not version or version == self._version:
                continue
            try:
                self.reload()
            except (OSError, ValueError) as error:
                # A rotation that is half done: looked at again at the next turn.
                logger.warning("mesh certificate not taken over", peer=self._name, cause=str(error))

    async def close(self, grace: float | None = None) -> None:
        """Close the connection and those still draining; calls in flight get `grace` seconds."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for task in tuple(self._draining):
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - gRPC's
        """Give the present connection's state."""
        return self.connection.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the present connection's state is another."""
        await self.connection.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the present connection is ready."""
        await self.connection.channel_ready()

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Give a method, as gRPC's channel does."""
        return Method(self, "unary_unary", method, _named(args, kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Give a method, as gRPC's channel does."""
        return Method(self, "unary_stream", method, _named(args, kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Give a method, as gRPC's channel does."""
        return Method(self, "stream_unary", method, _named(args, kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Give a method, as gRPC's channel does."""
        return Method(self, "stream_stream", method, _named(args, kwargs))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.close()


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(("request_serializer", "response_deserializer"), args, strict=False)) | kwargs


def target_uri(target: str) -> str:
    """Give gRPC's name of a target: one host:port, or several replicas separated by commas."""
    replicas = [part.strip() for part in target.split(",") if part.strip()]
    if len(replicas) == 1:
        return f"dns:///{replicas[0]}"
    kinds = set(_kinds(replicas))
    if kinds == {"ipv6"}:
        return f"ipv6:{','.join(replicas)}"
    if kinds != {"ipv4"}:
        raise ValueError("several replicas are given by address; for names use one that resolves to all of them")
    return f"ipv4:{','.join(replicas)}"


def _kinds(replicas: list[str]) -> Iterator[str]:
    for replica in replicas:
        host = replica.rpartition(":")[0]
        if host.startswith("["):
            yield "ipv6"
        else:
            yield "ipv4" if host.replace(".", "").isdigit() else "name"
