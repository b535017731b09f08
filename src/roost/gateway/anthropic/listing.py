"""Models as Anthropic's clients read them: what they look for is added to our rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

#: Who sends it reads this shape.
VERSION_HEADER = "anthropic-version"


def model_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """One of our rows with what they call a model."""
    made = datetime.fromtimestamp(row["created"], UTC).isoformat().replace("+00:00", "Z")
    return {**row, "type": "model", "display_name": row.get("name") or row["id"], "created_at": made}


def model_page(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All of them on one page."""
    ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": None, "last_id": None}
    return {"object": "list", "data": [model_row(row) for row in rows], "has_more": False, **ends}
