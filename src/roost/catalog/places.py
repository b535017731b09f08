"""Where other programs keep models, from an environment; and which volume a path lies on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from roost.config.settings import CatalogSettings

IsMount = Callable[[Path], bool]

#: Folders whose children are volumes: macOS, and the automounters and habits of Linux. Value: levels below.
_VOLUME_ROOTS = {PurePath("/Volumes"): 1, PurePath("/media"): 2, PurePath("/run/media"): 2, PurePath("/mnt"): 1}


@dataclass(frozen=True)
class Places:
    """Folders that discovery looks into; those that do not exist are skipped."""

    models: Path
    folders: tuple[Path, ...]
    huggingface: Path | None
    lm_studio: tuple[Path, ...]
    ollama: Path | None

    @classmethod
    def find(cls, models: Path, settings: CatalogSettings, environ: Mapping[str, str]) -> Places:
        home = Path(environ.get("HOME") or Path.home())
        return cls(
            models=models,
            folders=tuple(_expanded(folder, home) for folder in settings.folders),
            huggingface=huggingface_cache(environ) if settings.huggingface else None,
            lm_studio=(home / ".lmstudio/models", home / ".cache/lm-studio/models") if settings.lm_studio else (),
            ollama=_ollama_store(environ, home) if settings.ollama else None,
        )


def huggingface_cache(environ: Mapping[str, str]) -> Path:
    """The hub cache folder by the hub's own rules: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub."""
    home = Path(environ.get("HOME") or Path.home())
    if explicit := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(explicit, home)
    cache = _expanded(environ.get("XDG_CACHE_HOME") or "~/.cache", home)
    return _expanded(environ.get("HF_HOME") or str(cache / "huggingface"), home) / "hub"


def _ollama_store(environ: Mapping[str, str], home: Path) -> Path:
    return _expanded(environ.get("OLLAMA_MODELS") or "~/.ollama/models", home)


def _expanded(text: str, home: Path) -> Path:
    """`~` means the HOME of the environment that was passed in, not of this process."""
    if text == "~" or text.startswith("~/"):
        return home / text[2:]
    return Path(text).expanduser().absolute()


def mount_of(path: Path, is_mount: IsMount) -> Path:
    """The mount point that a path lies on."""
    return next((folder for folder in (path, *path.parents) if is_mount(folder)), Path(path.anchor))


def missing_volume(path: Path, recorded: Path | None, is_mount: IsMount) -> Path | None:
    """The volume that is not mounted and explains why `path` is not there; None: the file itself is gone."""
    candidates: Iterable[Path | None] = (recorded, _volume_of(path))
    return next((folder for folder in candidates if folder and folder != Path("/") and not is_mount(folder)), None)


def _volume_of(path: Path) -> Path | None:
    for root, levels in _VOLUME_ROOTS.items():
        depth = len(root.parts) + levels
        if PurePath(*path.parts[: len(root.parts)]) == root and len(path.parts) > depth:
            return Path(*path.parts[:depth])
    return None
