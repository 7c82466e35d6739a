"""Layouts of seated sections as they are stored: apart from the other columns, because they are large."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from holdfast.capacity.domain.layouts import Layout
from holdfast.capacity.store.arrays import plain, texts
from holdfast.capacity.store.tables import sections
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.common.database import Transaction

READ: Final = """
SELECT s.id, s.layout_revision, s.row_layout FROM capacity.sections s
WHERE s.organization_id = $1 AND s.id = ANY ($2::text[])"""
_WRITE: Final = """
UPDATE capacity.sections t SET row_layout = s.row_layout::jsonb, layout_revision = s.revision
FROM unnest($3::text[], $4::integer[], $5::text[]) AS s (id, revision, row_layout)
WHERE t.organization_id = $1 AND t.event_id = $2 AND t.id = s.id AND t.id = ANY ($3::text[])"""


async def read(transaction: Transaction, section_ids: Sequence[str]) -> dict[str, Layout]:
    """Return the layouts of seated sections."""
    result = await transaction.execute(
        select(sections.c.id, sections.c.row_layout).where(
            sections.c.organization_id == transaction.organization_id,
            sections.c.id.in_(section_ids),
            sections.c.row_layout.is_not(None),
        )
    )
    return {row.id: Layout.from_json(row.row_layout) for row in result}


def write(organization_id: str, event_id: str, layouts: Mapping[str, Layout]) -> Statement:
    """Give what stores layouts, by section."""
    return Statement(
        _WRITE,
        (
            organization_id,
            event_id,
            plain(layouts),
            plain(layout.revision for layout in layouts.values()),
            texts([json.dumps(layout.to_json()) for layout in layouts.values()]),
        ),
    )
