"""Messages are written in the transaction that causes them; the relay publishes them afterwards."""

from sqlalchemy import insert

from holdfast.common import schema as tables
from holdfast.common.database import Transaction
from holdfast.common.messaging import OutgoingMessage

BODY_BYTES_MAX = 512 * 1024
"""The largest body of a message. NATS takes 1 MiB with headers; a larger one could never be published."""


async def append(transaction: Transaction, message: OutgoingMessage, *, schema: str) -> None:
    """Append `message` to `<schema>.outbox`.

    The aggregate's version must have been taken under the aggregate's row lock in this same transaction: that is what
    makes the order of the rows the order of the commits. Raises ValueError when the body is larger than can be
    published, IntegrityError when the aggregate has this version already.
    """
    if len(message.body) > BODY_BYTES_MAX:
        reason = f"the body of {message.type} has {len(message.body)} bytes, more than {BODY_BYTES_MAX}"
        raise ValueError(reason)
    await transaction.execute(
        insert(tables.outbox_table(schema)).values(
            organization_id=message.organization_id,
            aggregate_id=message.aggregate_id,
            version=message.version,
            message_id=message.message_id,
            subject=message.subject,
            type=message.type,
            body=message.body,
            occur_time=message.occur_time,
            traceparent=message.traceparent,
        )
    )
