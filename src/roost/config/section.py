"""What every part of the settings is."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

#: More than these is a slip of the pen: a pebibyte, ten years, what a float still counts one by one.
MOST_GB = 2**20
MOST_S = 10 * 366 * 86_400
MOST = 2**53


class Section(BaseModel):
    """A part of the settings: immutable, an unknown key is an error rather than silently ignored, and so is a number
    that is none, without end, or beyond all use."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python takes true for 1."""
        if isinstance(value, bool) and info.field_name is not None:
            kinds = _kinds(cls.model_fields[info.field_name].annotation)
            if kinds & {int, float} and bool not in kinds:
                raise ValueError("must be a number")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _within_reason(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, int | float) and info.field_name is not None:
            most = MOST_S if info.field_name.endswith("_s") else MOST
            if abs(value) > most:
                raise ValueError(f"must be at most {most}")
        return value


def _kinds(annotation: Any) -> set[Any]:
    return set(get_args(annotation)) or {annotation}
