"""What the scan finds, what it leaves alone, and how long it takes."""

from __future__ import annotations

import json
import random
import string
import sys
import time
from pathlib import Path

import pytest

from roost.cloud import secrets
from roost.cloud.secrets import BUDGET_S, UNSEARCHED, SecretScan

SCAN = SecretScan()
ROOT = Path(__file__).resolve().parents[3]


def some(count, letters=string.ascii_letters + string.digits):
    return "".join(random.Random(count).choices(letters, k=count))


PRIVATE = f"-----BEGIN RSA PRIVATE KEY-----\n{some(64)}\n{some(64)}\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
SECRETS = {
    "private key": PRIVATE,
    "AWS key": f"AKIA{some(16, string.ascii_uppercase + string.digits)}",
    "GitHub token": f"ghp_{some(36)}",
    "GitLab token": f"glpat-{some(20)}",
    "Slack token": "xoxb-123456789012-123456789012-" + some(24),
    "Stripe key": f"sk_live_{some(24)}",
    "OpenAI key": f"sk-proj-{some(20)}T3BlbkFJ{some(20)}",
    "Anthropic key": f"sk-ant-api03-{some(90)}",
    "API key": f"sk-or-v1-{some(64, string.hexdigits.lower())}",
    "roost key": f"roost-{some(12, '0123456789abcdef')}-{some(64, '0123456789abcdef')}",
    "Google key": f"AIza{some(35)}",
    "Hugging Face token": f"hf_{some(34)}",
    "npm token": f"npm_{some(36)}",
    "SendGrid key": f"SG.{some(22)}.{some(43)}",
    "JSON web token": JWT,
    "password in a URL": "postgres://app:k3vSq9Lw@db.internal:5432/app",
    "password or key": "DB_PASSWORD=k3vSq9Lw2pXz",
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("around", ["{}", "Why does this fail?\n\n{}\n\nThanks!", 'x = "{}"  # here', "{} and more"])
def test_it_is_found_wherever_it_stands(kind, around):
    assert SCAN.first_in(["hello", around.format(SECRETS[kind])]) == kind


@pytest.mark.parametrize("kind", SECRETS)
def test_it_is_found_at_any_place_of_a_long_text(kind):
    for before in (0, 4000, 8150, 100_000):
        text = f"{'x ' * (before // 2)}{SECRETS[kind]}{' y' * 20_000}"
        assert SCAN.first_in([text]) == kind


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("around", ["first line\n{}\nlast", "a\t{}\tb", 'say "{}" now'])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_it_is_found_in_json_inside_of_strings(kind, around, times):
    text = around.format(SECRETS[kind])
    for _ in range(times):
        text = json.dumps({"content": text})
    assert SCAN.first_in([text]) is not None


@pytest.mark.parametrize(
    "text",
    [
        'password = "k3vSq9Lw2pXz"',
        "api_key: 'k3vSq9Lw2pXz'",
        '"client_secret": "k3vSq9Lw2pXz"',
        "export AUTH_TOKEN=k3vSq9Lw2pXz",
        'secret := "k3vSq9Lw2pXz"',
    ],
)
def test_a_password_is_found_in_the_words_of_many_languages(text):
    assert SCAN.first_in([text]) == "password or key"


@pytest.mark.parametrize(
    "text",
    [
        "The password must be changed: talk to the token's owner about the secret of the private key.",
        'password = os.environ["DB_PASSWORD"]',
        "api_key=settings.openai.key2",
        "token = get_token_v2(user)",
        "api_key = env:OPENAI_API_KEY1",
        'password="changeme123456"',
        "API_KEY=<your-api-key-123>",
        "postgres://user:password@localhost/app",
        "https://example.com/a:b@c and git@github.com:x/y.git",
        "aws key AKIAIOSFODNN7EXAMPLE",
        "tokenizer: Qwen/Qwen2.5-0.5B-Instruct",
        "max_tokens: 1024, prompt_tokens=12_345",
        "grep for -----BEGIN RSA PRIVATE KEY----- in the repository",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "import sklearn; sk-learn is not a key, and neither is risk-assessment-of-2026-projects",
        "data:image/png;base64," + some(5000),
        "uuid 123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_talk_and_code_are_no_secrets(text):
    assert SCAN.first_in([text]) is None


def test_its_own_source_and_pages_hold_none():
    """Half a million words of code and prose, in which any alarm is a false one."""
    pages = [path for part in ("src", "docs") for path in (ROOT / part).rglob("*.*") if path.suffix in (".py", ".md")]
    alarms = {path.name: kind for path in pages if (kind := SCAN.first_in([path.read_text()]))}
    assert alarms == {}


def test_a_letter_that_grows_when_it_is_made_small_moves_nothing():
    assert SCAN.first_in(["İ" * 5000 + " " + SECRETS["GitHub token"]]) == "GitHub token"


@pytest.mark.parametrize("piece", ["eyJ", "aws key ", "://a:", "token=", "xoxz-", "-----BEGIN PRIVATE KEY "])
def test_a_text_made_to_keep_it_busy_is_done_within_the_budget(piece):
    began = time.thread_time()
    found = SCAN.first_in([piece * (4_000_000 // len(piece))])
    assert time.thread_time() - began < BUDGET_S + 0.5
    assert found in (None, UNSEARCHED)


def test_without_the_package_nothing_passes(monkeypatch):
    monkeypatch.setitem(sys.modules, "detect_secrets", None)
    secrets._is_installed.cache_clear()
    try:
        scan = SecretScan()
        assert "roost[cloud]" in scan.missing()
        assert scan.first_in(["hello"]) == UNSEARCHED
    finally:
        secrets._is_installed.cache_clear()


def test_letters_that_are_written_by_their_number_are_letters() -> None:
    scan = SecretScan()
    assert scan.first_in([r'{"q": "sk\u002dant-api03-abcdefghij0123456789abcdefghij"}']) == "Anthropic key"
