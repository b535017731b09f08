"""What every part of the settings is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

#: Of any size in GB, a pebibyte: more is a slip of the pen.
MOST_GB = 2**20


class Section(BaseModel):
    """A part of the settings: immutable, an unknown key is an error rather than silently ignored, and so is a number
    that is none or without end."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
