"""What the log tells of a promise: bytes on the host, bytes on GPUs, and whose word they rest on."""

from __future__ import annotations

import pytest

from roost.memory.admission import Admit, AdmitAlone, Clamp, Verdict
from roost.memory.budget import GIB, HOST
from roost.memory.devices import DeviceSet
from roost.memory.needs import Amount, Basis, Need, declared_need
from roost.workers.allowed import promise_told
from tests.unit.memory.specs import llama_shape

SPLIT = DeviceSet({HOST: 2 * GIB, "GPU-1": 5 * GIB, "GPU-2": 4 * GIB})


def on_gpus(basis: Basis) -> Need:
    return Need(basis, Amount(2 * GIB), Amount(8 * GIB, GIB))


@pytest.mark.parametrize(
    ("verdict", "host_bytes", "gpu_bytes", "source"),
    [
        (Admit(on_gpus(Basis.DRY_RUN), SPLIT), 2 * GIB, 9 * GIB, "dry run"),
        (Admit(on_gpus(Basis.FORMULA), SPLIT), 2 * GIB, 9 * GIB, "formula"),
        (Clamp(llama_shape(2048), on_gpus(Basis.MEASURED), SPLIT), 2 * GIB, 9 * GIB, "measured peak"),
        (Admit(declared_need(GIB), DeviceSet({HOST: GIB})), GIB, 0, "declared size"),
        (AdmitAlone("nobody declared it"), 0, 0, "alone"),
        (AdmitAlone("it took more before than there is", 3 * GIB), 0, 0, "alone"),
    ],
)
def test_a_promise_is_told_by_side_and_source(verdict: Verdict, host_bytes: int, gpu_bytes: int, source: str) -> None:
    assert promise_told(verdict) == {"host_bytes": host_bytes, "gpu_bytes": gpu_bytes, "source": source}
