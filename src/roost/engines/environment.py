"""The environment of a worker: an allow-list, because a plain child would inherit every secret of the daemon."""

from __future__ import annotations

from collections.abc import Mapping

from roost.engines.types import WorkerPlace

#: Passed on from the daemon when set: language, and which GPUs may be seen.
INHERITED = (
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "NVIDIA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HSA_OVERRIDE_GFX_VERSION",
    "GGML_VK_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
)
#: Where the loader looks for GPU libraries; only for engines that are native programs or load them.
LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
#: All weights are on the disk already; an engine must not replace or complete them by itself.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def worker_environment(
    environ: Mapping[str, str],
    place: WorkerPlace,
    own: Mapping[str, str],
    *,
    engine: Mapping[str, str] | None = None,
    libraries: bool = False,
    offline: bool = True,
) -> dict[str, str]:
    """The whole environment of one start.

    `engine` holds what the adapter needs; `own` is the user's `env` for this model and wins over everything but the
    nonce, by which workers finds its own again. `libraries` lets the loader paths through; `offline` forbids the hub.
    """
    names = (*INHERITED, *LIBRARY_PATHS) if libraries else INHERITED
    private = str(place.home)
    return {
        **{name: environ[name] for name in names if environ.get(name)},
        "PATH": environ.get("PATH") or DEFAULT_PATH,
        "HOME": private,
        "TMPDIR": private,
        **(OFFLINE if offline else {}),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        **(engine or {}),
        **own,
        "ROOST_WORKER_NONCE": place.nonce,
    }
