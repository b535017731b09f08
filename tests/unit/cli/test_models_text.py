"""Models as text, and what `config check` says of a role's model."""

from __future__ import annotations

from pathlib import Path

from roost.catalog.spec import Source, SourceKind, UnavailableModel
from roost.catalog.upkeep import FileVerdict, Removal, VerifyReport
from roost.cli import models_text
from roost.cli.findings import judge_target
from tests.unit.cli.test_use import spec

GONE = UnavailableModel(
    id="gone", reason="volume not mounted: /Volumes/X", source=Source(kind=SourceKind.FOLDER, location="/Volumes/X/g")
)


def test_a_line_names_the_roles_of_a_model_on_any_node() -> None:
    _, line = models_text.table([spec("a")], {"coding": "a", "oss": "a@basement", "default": "b"})
    assert "coding, oss" in line


def test_what_cannot_be_reached_says_why_in_its_line() -> None:
    assert "unavailable: volume not mounted: /Volumes/X" in models_text.table([GONE], {})[1]


def test_details_show_what_the_headers_say() -> None:
    known = spec("a").model_copy(
        update={
            "parameters_total": 30_500_000_000,
            "parameters_active": 3_300_000_000,
            "quantization": "Q4_K_M",
            "bits_per_weight": 4.85,
            "fingerprint": "b179c9523d0e6a0f",
            "warnings": ("its template reads attributes",),
        }
    )
    text = "\n".join(models_text.details(known, ["coding"]))
    for piece in (
        "parameters    30.5B, 3.3B active",
        "quantization  Q4_K_M (4.85 bits a weight)",
        "fingerprint   b179c9523d0e\n",
        "roles         coding",
        "warning: its template reads attributes",
    ):
        assert piece in text


def test_a_removal_tells_what_stays() -> None:
    removal = Removal("a", (Path("/m/a.gguf"),), 97_000_000, (Path("/theirs/b.gguf"),))
    assert models_text.removal_lines(removal, dry_run=True) == [
        "would remove a, 97 MB freed",
        "  deleted  /m/a.gguf",
        "  kept     /theirs/b.gguf",
    ]


def test_a_changed_file_is_shown_with_what_was_expected() -> None:
    report = VerifyReport("a", (FileVerdict(Path("/m/a.gguf"), "1" * 64, "2" * 64),))
    lines = models_text.verdict_lines(report)
    assert lines[0] == "differs  sha256 111111111111  a.gguf  expected 222222222222"
    assert "not what was recorded" in lines[-1]


def test_a_role_of_a_known_model_is_no_finding() -> None:
    assert judge_target("coding", "a", {"a": spec("a")}) is None


def test_a_role_of_a_misspelt_model_is_mended_by_use() -> None:
    problem = judge_target("coding", "SmolLM2-135", {"SmolLM2-135M": spec("SmolLM2-135M")})
    assert problem is not None
    assert problem.mend == "roost use coding SmolLM2-135M"


def test_a_role_of_a_model_that_is_not_here_is_mended_by_adding_it() -> None:
    problem = judge_target("coding", "org/big", {})
    assert problem is not None
    assert problem.mend == "roost models add org/big"


def test_a_role_of_an_unmounted_volume_says_so() -> None:
    problem = judge_target("oss", "gone", {"gone": GONE})
    assert problem is not None
    assert problem.text == f"role oss: gone is unavailable: {GONE.reason}"
