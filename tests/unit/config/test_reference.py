"""The settings reference is generated and complete."""

from pathlib import Path

from roost.config.reference import reference
from roost.config.schema import is_model, keys_at, type_at
from roost.config.settings import Settings

PAGE = Path(__file__).parents[3] / "docs/reference/settings.md"


def test_the_committed_page_is_what_the_types_say() -> None:
    assert PAGE.read_text() == reference(), (
        "run: .venv/bin/python -m roost.config.reference > docs/reference/settings.md"
    )


def test_every_setting_says_what_it_is_for() -> None:
    tables = [("gateway",), ("engine",), ("models", "x"), ("models", "x", "command"), ("models", "x", "external")]
    tables += [("roles", "x"), ("roles", "x", "filters"), ("roles", "x", "filters", "clamp", "y")]
    tables += [(name,) for name in Settings.model_fields if is_model(type_at((name,)))]
    for table in tables:
        for key, field in type_at(table).model_fields.items():
            assert field.description, f"{'.'.join(table)}.{key} has no description"
            assert f"| `{key}` |" in reference()


def test_knobs_are_known_at_all_three_places() -> None:
    places = (("engine",), ("engines", "mlx-lm"), ("models", "org/a", "engine"))
    assert len({keys_at(place) for place in places}) == 1
    assert "context" in keys_at(places[0])
