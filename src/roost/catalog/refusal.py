"""Why a file cannot become a model."""

from __future__ import annotations

from roost.errors import BadRequest


class ModelRefused(BadRequest):
    """These files are not a model that roost loads: truncated, malformed, of another format, or they carry code."""

    code = "model_refused"


class Truncated(ModelRefused):
    """The file ends before what its own header promises: a download that is not finished, or a broken copy."""
