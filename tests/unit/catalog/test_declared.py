"""Models that only the settings know."""

import pytest

from roost.catalog.declared import declared_models
from roost.catalog.spec import ModelFormat
from roost.config.settings import Settings
from roost.errors import BadConfiguration


def declared(**model):
    return declared_models(Settings.model_validate({"models": {"mine": model}}))


def test_an_external_model_is_known_by_its_address_without_secrets():
    spec = declared(external={"url": "https://me:secret@host:8000/v1?key=secret"}, context_length=4096)["mine"]
    assert spec.format is ModelFormat.DECLARED
    assert spec.source.location == "https://host:8000/v1"
    assert (spec.context_length, spec.fingerprint, spec.path) == (4096, "", None)


def test_a_command_model_shows_its_program_only():
    spec = declared(command={"cmd": "/opt/server --api-key secret --port ${PORT}"}, capabilities=["embedding"])["mine"]
    assert spec.source.location == "/opt/server"
    assert spec.capabilities == {"embedding"}


def test_settings_of_a_model_on_disk_declare_nothing():
    assert declared(aliases=["x"]) == {}


def test_an_unknown_capability_is_named():
    with pytest.raises(BadConfiguration, match="telepathy"):
        declared(external={"url": "http://x"}, capabilities=["telepathy"])
