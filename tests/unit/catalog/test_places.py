"""Where other programs keep models, and which volume explains a missing file."""

from pathlib import Path

import pytest

from roost.catalog.places import Places, huggingface_cache, missing_volume, mount_of
from roost.config.settings import CatalogSettings


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/u"}, "/u/.cache/huggingface/hub"),
        ({"HOME": "/u", "HF_HOME": "/disk/hf"}, "/disk/hf/hub"),
        ({"HOME": "/u", "HF_HOME": "~/hf"}, "/u/hf/hub"),
        ({"HOME": "/u", "HF_HOME": "/disk/hf", "HF_HUB_CACHE": "/c"}, "/c"),
        ({"HOME": "/u", "XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
    ],
)
def test_the_hub_cache_is_where_the_hub_says(environ, expected):
    assert huggingface_cache(environ) == Path(expected)


def test_every_place_can_be_moved_or_switched_off():
    environ = {"HOME": "/u", "OLLAMA_MODELS": "/o"}
    places = Places.find(Path("/m"), CatalogSettings(folders=("~/more", "/abs")), environ)
    assert places.folders == (Path("/u/more"), Path("/abs"))
    assert places.ollama == Path("/o")
    assert places.lm_studio[0] == Path("/u/.lmstudio/models")
    off = Places.find(Path("/m"), CatalogSettings(huggingface=False, lm_studio=False, ollama=False), environ)
    assert (off.huggingface, off.lm_studio, off.ollama) == (None, (), None)


def mounted(*mounts):
    return lambda path: str(path) in {"/", *mounts}


def test_a_path_lies_on_the_nearest_mount():
    assert mount_of(Path("/data/models/x"), mounted("/data")) == Path("/data")
    assert mount_of(Path("/home/x"), mounted("/data")) == Path("/")


@pytest.mark.parametrize(
    ("path", "volume"),
    [
        ("/Volumes/Fast/models/x.gguf", "/Volumes/Fast"),
        ("/mnt/models/x.gguf", "/mnt/models"),
        ("/media/me/Fast/x.gguf", "/media/me/Fast"),
        ("/run/media/me/Fast/x.gguf", "/run/media/me/Fast"),
    ],
)
def test_a_volume_folder_that_is_no_mount_is_away(path, volume):
    assert missing_volume(Path(path), None, mounted()) == Path(volume)
    assert missing_volume(Path(path), None, mounted(volume)) is None


def test_a_recorded_mount_that_is_gone_is_away():
    assert missing_volume(Path("/data/x"), Path("/data"), mounted()) == Path("/data")
    assert missing_volume(Path("/data/x"), Path("/data"), mounted("/data")) is None


def test_the_root_is_never_away():
    assert missing_volume(Path("/home/x"), Path("/"), lambda _: False) is None
