"""The streams and durable consumers of the mesh, declared by code: created, or brought to what the code says."""

from typing import Final

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

MAX_AGE_SECONDS: Final = 7 * 24 * 3600
DUPLICATE_WINDOW_SECONDS: Final = 120
ACK_WAIT_SECONDS: Final = 60
ACK_PENDING_MAX: Final = 256

SUBJECTS: Final = {
    "EVENTS": "events.>",
    "CAPACITY": "capacity.>",
    "PRICING": "pricing.>",
    "DEAD": "dead.>",
}

_STREAM_EXISTS_OTHERWISE: Final = 10058


def stream_config(stream: str) -> StreamConfig:
    """Return how `stream` is to be: on disk, a week, duplicates dropped within two minutes. KeyError if unknown."""
    return StreamConfig(
        name=stream,
        subjects=[SUBJECTS[stream]],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=MAX_AGE_SECONDS,
        duplicate_window=DUPLICATE_WINDOW_SECONDS,
    )


def consumer_config(name: str, subjects: tuple[str, ...]) -> ConsumerConfig:
    """Return how a durable consumer is to be: every message, explicitly acknowledged, redelivered without end by NATS.

    When enough is enough is decided by the consumer itself, which then puts the message into DEAD; a limit of NATS'
    would drop it silently.
    """
    return ConsumerConfig(
        durable_name=name,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_deliver=-1,
        max_ack_pending=ACK_PENDING_MAX,
        filter_subjects=list(subjects),
    )


async def declare(context: JetStreamContext, stream: str) -> str:
    """Create the stream, or update it where it differs, and return what tells this one from a later one of its name.

    Several services may do this at once: creating what exists equally is no error to NATS.
    Raises nats.errors.Error when NATS does not answer or refuses.
    """
    wanted = stream_config(stream)
    try:
        found = await context.stream_info(stream)
        if _differs(found.config, wanted):
            found = await context.update_stream(config=wanted)
    except NotFoundError:
        try:
            found = await context.add_stream(config=wanted)
        except APIError as error:
            if error.err_code != _STREAM_EXISTS_OTHERWISE:
                raise
            found = await context.update_stream(config=wanted)
    return str(found.created)


async def declare_consumer(context: JetStreamContext, stream: str, *, name: str, subjects: tuple[str, ...]) -> None:
    """Create the stream if need be, and the durable consumer, or update it to `subjects`."""
    await declare(context, stream)
    await context.add_consumer(stream, config=consumer_config(name, subjects))


def _differs(found: StreamConfig, wanted: StreamConfig) -> bool:
    return (
        found.subjects != wanted.subjects
        or found.max_age != wanted.max_age
        or found.duplicate_window != wanted.duplicate_window
        or found.discard != wanted.discard
    )
