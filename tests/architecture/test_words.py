"""What must not be in the tree: places of one machine, hosts of package registries, notes of how it was made."""

import re

from tests.architecture.source import tree_files
from tests.helpers import ROOT

#: Each with what is wrong about it.
FORBIDDEN = {
    r"/(home|Users)/(?!me\b|you\b|user\b|u\b)\w+/|(?<![\w.])/root/": "a path of one machine",
    r"pypi\.org|python\w*hosted\.org|registry\.npm\w*\.|deb\.\w+\.org": "pip, npm and apt know their hosts",
    r"\b[Ii]ssue [A-Z]\b(?!['’])": "the tree says what it is, not by which order it was made",
    r"\bfacts/\w": "a page that is not in this tree",
    r"\b(TODO|FIXME|XXX)\b": "do it, or say in the documentation that it is not done",
}
#: One line of a lock: a comment, a pinned requirement, or a hash.
LOCK_LINE = re.compile(r"#.*|\s*--hash=sha256:[0-9a-f]{64}( \\)?|[\w.\[\]-]+==[^\s;]+( ;[^\\]*)?( \\)?|")
#: This file says the words, and an operating system's own licence names its host.
EXEMPT = {"tests/architecture/test_words.py", "LICENSE"}


def texts():
    for path in tree_files():
        if str(path.relative_to(ROOT)) in EXEMPT:
            continue
        try:
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_no_forbidden_word_is_in_the_tree():
    patterns = FORBIDDEN | {re.escape(str(ROOT)) + r"\b": "the path of this checkout"}
    found = [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()!r} ({why})"
        for path, text in texts()
        for pattern, why in patterns.items()
        for match in re.finditer(pattern, text)
    ]
    assert not found


def test_locks_hold_versions_and_hashes_only():
    for path in tree_files():
        if path.suffix == ".txt" and {"requirements", "locks"} & set(path.parts):
            for line in path.read_text().splitlines():
                assert LOCK_LINE.fullmatch(line), f"{path.name}: {line}"
