"""Does a text hold what looks like a secret? Asked before anything goes to a cloud.

detect-secrets knows the shapes of many keys. Its plugins are chosen here one by one: those that go by entropy alone, or
by a short beginning, take hashes, names and pictures for secrets, and a scan that cries wolf is switched off. Passwords
that are set to something in code or a settings file are found by a rule of our own, which wants a value that nobody
would write by hand. What is split over lines is not found, private keys aside.

Most keys are long and without a blank, so that they are searched for in the long words of a text alone: first the few
letters with which they begin, and around each of these a plugin looks at a bounded window. A text that keeps them busy
for too long counts as one with a secret.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from roost.cloud.keys import EXTRA

#: CPU time that one request may be looked at.
BUDGET_S = 0.5
_PLUGINS = "detect_secrets.plugins"
_MISSING = f"prompts cannot be searched for secrets without the package detect-secrets; {EXTRA}"
#: What a request is said to hold when nobody could look at it.
UNSEARCHED = "something that could not be searched for secrets"
ASSIGNED = "password or key"
Find = Callable[[str], Iterator[str]]


@dataclass(frozen=True)
class Detector:
    """`kind` is told to people; `anchors`, in small letters, are words without which there is none of it."""

    kind: str
    anchors: tuple[str, ...]
    #: The module and class of a plugin, or an expression of our own.
    by: tuple[str, str] | re.Pattern[str]
    #: Refuses what looks like one and is none.
    is_real: Callable[[str], bool] = lambda found: True
    #: It wants the words around it, and is searched in the text itself instead of its long words alone.
    in_context: bool = False
    #: Letters before and behind an anchor that are looked at.
    around: tuple[int, int] = (8, 600)


#: No key of a service is shorter.
_LONG_WORD = 20


class SecretScan:
    """`load` imports the plugins, which takes a third of a second, once."""

    def __init__(self) -> None:
        self._finders: list[tuple[Detector, Find]] | None = None

    def missing(self) -> str | None:
        """Why nothing can be found, and what would mend that; None: all is there."""
        return None if _is_installed() else _MISSING

    def load(self) -> None:
        """Blocking, and nothing when it was done before or cannot be."""
        if self._finders is None and _is_installed():
            self._finders = [(detector, _finder(detector)) for detector in DETECTORS]

    def first_in(self, texts: Iterable[str]) -> str | None:
        """The kind of the first secret; None: there is none."""
        self.load()
        if self._finders is None:
            return UNSEARCHED
        until = time.thread_time() + BUDGET_S
        for text in texts:
            if (kind := _first(self._finders, text, until)) is not None:
                return kind
        return None


#: What JSON makes of characters that matter here, and what they were; some writers escape more than they must.
_ESCAPED = (*(("\\n", "\n"), ("\\r", "\n"), ("\\t", "\t"), ('\\"', '"'), ("\\'", "'"), ("\\/", "/")),)


_BY_NUMBER = re.compile(r"\\u([0-9a-fA-F]{4})")


def _unescaped(text: str) -> str:
    """Arguments of a call, and files in them, are JSON inside of a string, perhaps several times over: a key behind
    `\\n` stands at the beginning of a line and not behind an n."""
    while "\\\\" in text:
        text = text.replace("\\\\", "\\")
    if "\\" in text:
        text = _BY_NUMBER.sub(lambda match: chr(int(match[1], 16)), text)
        for written, meant in _ESCAPED:
            text = text.replace(written, meant)
    return text


def _first(finders: list[tuple[Detector, Find]], text: str, until: float) -> str | None:
    text = _unescaped(text)
    made = "\n".join(word for word in text.split() if len(word) >= _LONG_WORD)
    whole, words = (text, _small(text)), (made, _small(made))
    for detector, find in finders:
        if time.thread_time() > until:
            return UNSEARCHED
        for window in _windows(*(whole if detector.in_context else words), detector):
            if any(detector.is_real(found) for found in find(window)):
                return detector.kind
            if time.thread_time() > until:
                return UNSEARCHED
    return _assigned(text, until)


_SMALL = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _small(text: str) -> str:
    """In small letters, each at the place that it had: some letters become two, and then only ASCII's are changed."""
    small = text.lower()
    return small if len(small) == len(text) else text.translate(_SMALL)


def _windows(text: str, small: str, detector: Detector) -> Iterator[str]:
    """The pieces of a text around the anchors; what begins in the first half of a piece ends in it."""
    before, window = detector.around
    for anchor in detector.anchors:
        at = small.find(anchor)
        while at >= 0:
            yield text[max(0, at - before) : at + window]
            at = small.find(anchor, at + max(1, window // 2))


@cache
def _is_installed() -> bool:
    return importlib.util.find_spec("detect_secrets") is not None


def _finder(detector: Detector) -> Find:
    if isinstance(detector.by, re.Pattern):
        pattern = detector.by
        return lambda window: (match[match.lastindex or 0] for match in pattern.finditer(window))
    module, name = detector.by
    find: Find = getattr(importlib.import_module(f"{_PLUGINS}.{module}"), name)().analyze_string
    return find


#: Values that stand for one in texts about code.
_STANDS_FOR = re.compile(
    r"example|changeme|change-me|placeholder|dummy|redacted|your|my[-_]|password|passwd|secret|token|foobar|xxx|\*\*\*|"
    r"\.\.\.|…|[<>{}()$%\[\]\\]|://|^env:|^keyring:|^cmd:|^None$",
    re.IGNORECASE,
)
#: Names of things in code, and paths.
_NAMED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[A-Za-z]+\d*(?:_[A-Za-z0-9]+)+|\.{0,2}/.*")
_LEAST_BITS = 3.0


def looks_made(value: str) -> bool:
    """Whether a value is one that a machine made, or a careful person: letters and digits without a pattern."""
    if _STANDS_FOR.search(value) or _NAMED.fullmatch(value):
        return False
    if not any(map(str.isdigit, value)) or not any(map(str.isalpha, value)):
        return False
    counts = Counter(value)
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
    return bits >= _LEAST_BITS


def _is_no_example(value: str) -> bool:
    return not value.upper().endswith("EXAMPLE")


def _is_signed(token: str) -> bool:
    return token.count(".") == 2


def _is_password(value: str) -> bool:
    """Of a URL: most of them in texts are words such as `password`."""
    return len(value) >= 4 and not _STANDS_FOR.search(value) and value.lower() not in ("pass", "pwd", "user", "root")


#: What is assigned to something, in code, in a settings file, as a variable; and what that something ends with when its
#: name says that it is secret.
_ASSIGNED = re.compile(r"[:=]>?\s{0,8}[\"'`]?(?=([^\s\"'`,;]{12,200}))")
_SECRET_NAME = re.compile(
    r"(?:passwords?|passwd|pwd|passphrase|secrets?|tokens?|(?:api|access|auth|account|private|client)[_-]?keys?)"
    r"(?:[_-][a-z0-9_-]{0,40})?[\"'`\]]{0,2}\s{0,8}[:=!]{0,2}$",
    re.IGNORECASE,
)
_LONGEST_NAME = 80
#: Assignments between two looks at the clock.
_BETWEEN_LOOKS = 64
_DIGIT = re.compile(r"\d")


def _assigned(text: str, until: float) -> str | None:
    for count, match in enumerate(_ASSIGNED.finditer(text)):
        value, at = match[1], match.start()
        # The cheapest question first: most of what is assigned has no digit.
        if _DIGIT.search(value) and _SECRET_NAME.search(text, max(0, at - _LONGEST_NAME), at) and looks_made(value):
            return ASSIGNED
        if count % _BETWEEN_LOOKS == 0 and time.thread_time() > until:
            return UNSEARCHED
    return None


#: A private key is its first line and something like a line of base64 behind it; the first line alone is talk of one.
_PRIVATE = re.compile(r"BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[^\n]{0,12}[\s\S]{0,400}?[A-Za-z0-9+/]{40}")

#: Every kind there is; adding one is a row and a test.
DETECTORS: tuple[Detector, ...] = (
    Detector("private key", ("private key",), _PRIVATE, in_context=True, around=(40, 640)),
    Detector(
        "PuTTY key",
        ("putty-user-key-file",),
        re.compile(r"PuTTY-User-Key-File-\d: \S+"),
        in_context=True,
        around=(0, 80),
    ),
    Detector("AWS key", ("akia", "asia", "abia", "acca", "a3t"), ("aws", "AWSKeyDetector"), _is_no_example),
    Detector("AWS key", ("aws",), ("aws", "AWSKeyDetector"), _is_no_example, in_context=True, around=(0, 160)),
    Detector("password in a URL", ("://",), ("basic_auth", "BasicAuthDetector"), _is_password, True, (0, 400)),
    Detector("age key", ("age-secret-key-",), re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]{50,}", re.IGNORECASE)),
    Detector("GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), ("github_token", "GitHubTokenDetector")),
    Detector("GitHub token", ("github_pat_",), re.compile(r"github_pat_\w{50,}")),
    Detector(
        "GitLab token",
        ("glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "gr1348941", "glcbt-", "glptt-", "glagent-", "gloas-"),
        ("gitlab_token", "GitLabTokenDetector"),
        around=(0, 1200),
    ),
    Detector("Slack token", ("xox", "hooks.slack.com"), ("slack", "SlackDetector")),
    Detector("Slack token", ("xapp-",), re.compile(r"xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]{20,}")),
    Detector("Stripe key", ("k_live_",), ("stripe", "StripeDetector")),
    Detector("OpenAI key", ("t3blbkfj",), ("openai", "OpenAIDetector"), around=(300, 300)),
    Detector("Anthropic key", ("sk-ant-",), re.compile(r"sk-ant-[\w-]{20,}")),
    Detector("API key", ("sk-",), re.compile(r"(?<![\w-])sk-(?:(?:proj|or|svcacct|admin)-[\w-]{20,}|\w{32,})")),
    Detector("roost key", ("roost-",), re.compile(r"(?<![\w-])roost-[0-9a-f]{12}-[0-9a-f]{40,}")),
    Detector("Google key", ("aiza",), re.compile(r"AIza[\w-]{35}")),
    Detector("Hugging Face token", ("hf_",), re.compile(r"(?<!\w)hf_[A-Za-z0-9]{30,}")),
    Detector("Groq key", ("gsk_",), re.compile(r"(?<!\w)gsk_[A-Za-z0-9]{40,}")),
    Detector("npm token", (":_authtoken",), ("npm", "NpmDetector")),
    Detector("npm token", ("npm_",), re.compile(r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)")),
    Detector("PyPI token", ("pypi-age",), ("pypi_token", "PypiTokenDetector")),
    Detector("SendGrid key", ("sg.",), ("sendgrid", "SendGridDetector")),
    Detector("Azure key", ("accountkey=",), ("azure_storage_key", "AzureStorageKeyDetector")),
    Detector("Square secret", ("sq0csp-",), ("square_oauth", "SquareOAuthDetector")),
    Detector(
        "JSON web token", ("eyj",), ("jwt", "JwtTokenDetector"), lambda found: found.count(".") == 2, around=(0, 8192)
    ),
)
