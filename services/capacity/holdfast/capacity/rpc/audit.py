"""AuditService: translate, call, translate."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import audit_service_pb2 as pb
from holdfast.api.common.v1 import audit_pb2, pagination_pb2
from holdfast.capacity import convert
from holdfast.capacity.operations.auditing import EntryPage, list_entries
from holdfast.capacity.store.audits import EntryFilter
from holdfast.common.pagination import filters_of, page_size
from holdfast.common.protobuf import to_struct, to_timestamp

if TYPE_CHECKING:
    from holdfast.capacity.rpc.front import Front
    from holdfast.capacity.store.audits import StoredEntry
    from holdfast.common.rpc_call import Call

SERVICE: Final = "capacity"
_OUTCOME: Final = audit_pb2.AuditEntry.Outcome


class AuditServicer:
    """Who did what."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def list_audit_entries(self, request: pb.ListAuditEntriesRequest, call: Call) -> pb.ListAuditEntriesResponse:
        """List the organization's entries."""
        size = page_size(request)
        bound = filters_of(request, organization_id=call.organization_id)
        cursor = self._front.tokens.decode(request.page_token, bound)
        after = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        from_time, to_time = convert.time_range(request)
        wanted = EntryFilter(
            resource_type=request.resource_type,
            resource_id=request.resource_id,
            actor=request.actor,
            action=request.action,
            from_time=from_time,
            to_time=to_time,
        )
        page = EntryPage((), 0 if request.with_total else None)
        if request.outcome != _OUTCOME.FAILURE:  # only what was done has entries
            page = await self._front.run(
                call,
                partial(list_entries, wanted=wanted, limit=size + 1, after=after, with_total=request.with_total),
            )
        found, token = page.entries[:size], ""
        if len(page.entries) > size:
            last = found[-1]
            token = self._front.tokens.encode([last.create_time.isoformat(), last.entry.entry_id], bound)
        return pb.ListAuditEntriesResponse(
            entries=[_message(each, call.organization_id) for each in found],
            pagination=pagination_pb2.Pagination(next_page_token=token, total=page.total),
        )


def _message(stored: StoredEntry, organization_id: str) -> audit_pb2.AuditEntry:
    entry, author = stored.entry, stored.entry.author
    return audit_pb2.AuditEntry(
        id=entry.entry_id,
        organization_id=organization_id,
        service=SERVICE,
        actor=author.actor,
        actor_roles=author.roles,
        action=author.action,
        resource_type=entry.resource_type.value,
        resource_id=entry.resource_id,
        outcome=_OUTCOME.SUCCESS,
        note=author.note,
        changes=to_struct(entry.changes),
        omitted=entry.omitted,
        request_id=author.request_id,
        trace_id=author.trace_id,
        create_time=to_timestamp(stored.create_time),
    )
