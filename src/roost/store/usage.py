"""What each consumer has asked and got, from the activity log. Blocking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import case, create_engine, func, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError

from roost.store.schema import activity


@dataclass(frozen=True)
class Usage:
    """Of all keys of one name, as far back as the log goes."""

    requests: int
    #: Of them, those that were answered with an error.
    failed: int
    prompt_tokens: int
    completion_tokens: int
    #: Unix time.
    last_at: float


def usage_by_consumer(path: Path) -> dict[str, Usage]:
    """By the names of keys; empty where there is no log, or none that can be read."""
    if not path.exists():
        return {}
    columns = (
        activity.c.consumer,
        func.count(),
        func.sum(case((activity.c.status >= 400, 1), else_=0)),
        func.coalesce(func.sum(activity.c.prompt_tokens), 0),
        func.coalesce(func.sum(activity.c.completion_tokens), 0),
        func.max(activity.c.at),
    )
    asked = select(*columns).where(activity.c.consumer.is_not(None)).group_by(activity.c.consumer)
    # Read only: whoever lists keys creates, mends and moves nothing.
    place = URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
    engine = create_engine(place)
    try:
        with engine.connect() as connection:
            return {name: Usage(*rest) for name, *rest in connection.execute(asked)}
    except DatabaseError:
        return {}
    finally:
        engine.dispose()
