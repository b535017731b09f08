"""Why a file cannot become a model, and what the disk said."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from roost.errors import BadRequest, ModelUnavailable, StorageFull


class ModelRefused(BadRequest):
    """These files are not a model that roost loads: truncated, malformed, of another format, or they carry code."""

    code = "model_refused"


class Truncated(ModelRefused):
    """The file ends before what its own header promises: a download that is not finished, or a broken copy."""


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """An OSError as a sentence: `doing` says what could not be done. Raises StorageFull or ModelUnavailable."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"cannot {doing}: {where}the disk is full; free some space and try again") from error
        raise ModelUnavailable(f"cannot {doing}: {where}{error.strerror or error}") from error
