"""Tool calls by an outside, public measure: the AST categories of the Berkeley Function Calling Leaderboard.

    python -m benchmarks.bfcl --url http://127.0.0.1:11434/v1 --model default --category simple_python --n 40

Each case is asked twice of the running server: with roost's layer off, which is what the engine made of it, and with
the layer full, which is what clients get. The leaderboard's own data and checker judge both; nothing is executed. The
data is public, so that a model may have seen it. `bfcl-eval` is fetched once, by its digest, without its dependencies.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import subprocess
import sys
import tempfile
import types
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roost.verify.interval import wilson

PACKAGE = "bfcl-eval==2026.3.23"
DIGEST = "sha256:3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a"
CATEGORIES = (
    *("simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple", "irrelevance"),
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple", "live_irrelevance"),
)
#: The header `x-roost-tools` of each arm.
ARMS = {"engine": "off", "served": "full"}
#: BFCL's names of types; every other one is a word of Java or JavaScript, of which values are written as text.
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string", "": "string"}
_JSON_TYPES = ("object", "number", "integer", "string", "boolean", "array")

Call = dict[str, dict[str, Any]]
Checker = Callable[[list[dict[str, Any]], list[Call], Any, str], bool]


@dataclass(frozen=True)
class Case:
    name: str
    messages: list[dict[str, Any]]
    functions: list[dict[str, Any]]
    #: None: no call is right.
    truth: Any


def json_schema(described: Any) -> Any:
    """BFCL's description of parameters as JSON Schema."""
    if isinstance(described, list):
        return [json_schema(item) for item in described]
    if not isinstance(described, dict):
        return described
    schema = {key: json_schema(value) for key, value in described.items()}
    if isinstance(kind := described.get("type"), str):
        known = _TYPES.get(kind, kind)
        schema["type"] = known if known in _JSON_TYPES else "string"
    return schema


def tool_of(function: Mapping[str, Any]) -> dict[str, Any]:
    """As OpenAI's API takes it: names hold no dots there, which the checker knows."""
    named = {"name": function["name"].replace(".", "_"), "description": function["description"]}
    return {"type": "function", "function": {**named, "parameters": json_schema(function["parameters"])}}


def calls_of(message: Mapping[str, Any]) -> list[Call] | None:
    """Name and arguments of each call; None: one has arguments that are no object."""
    calls: list[Call] = []
    for call in message.get("tool_calls") or ():
        try:
            arguments = json.loads(call["function"]["arguments"])
        except ValueError:
            return None
        if not isinstance(arguments, dict):
            return None
        calls.append({call["function"]["name"]: arguments})
    return calls


def judge(case: Case, message: Mapping[str, Any], check: Checker, category: str) -> str:
    """`ok`, or what went wrong."""
    calls = calls_of(message)
    if case.truth is None:
        return "ok" if calls == [] else "invented"
    if calls is None:
        return "malformed"
    if not calls:
        names = [function["name"].replace(".", "_") for function in case.functions]
        return "leaked" if any(f'"{name}"' in (message.get("content") or "") for name in names) else "missed"
    return "ok" if check(case.functions, calls, case.truth, category) else "wrong"


# The leaderboard's own parts.


def fetched(folder: Path) -> Path:
    """The package's files, fetched unless they are there."""
    if not (folder / "bfcl_eval").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
            wanted.write(f"{PACKAGE} --hash={DIGEST}\n")
            wanted.flush()
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            options = ["--require-hashes", "--target", str(folder), "--requirement", wanted.name]
            subprocess.run([*pip, *options], check=True)
    return folder


def checker(folder: Path) -> Checker:
    """BFCL's AST checker. Its table of models would import each vendor's library: one entry, in which dots are
    underscores, stands for it."""
    sys.path.insert(0, str(folder))
    table = types.ModuleType("bfcl_eval.constants.model_config")
    one = types.SimpleNamespace(underscore_to_dot=True)
    table.MODEL_CONFIG_MAPPING = defaultdict(lambda: one)  # type: ignore[attr-defined]
    sys.modules[table.__name__] = table
    ast = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker")
    language = importlib.import_module("bfcl_eval.constants.enums").Language

    def check(functions: list[dict[str, Any]], calls: list[Call], truth: Any, category: str) -> bool:
        spoken = {"simple_java": language.JAVA, "simple_javascript": language.JAVASCRIPT}
        tongue = spoken.get(category, language.PYTHON)
        return bool(ast.ast_checker(functions, calls, truth, tongue, category, "roost")["valid"])

    return check


def cases(folder: Path, category: str) -> list[Case]:
    data = folder / "bfcl_eval/data"
    answers = data / f"possible_answer/BFCL_v4_{category}.json"
    truths = {row["id"]: row["ground_truth"] for row in _rows(answers)} if answers.exists() else {}
    return [
        Case(row["id"], row["question"][0], row["function"], truths.get(row["id"]))
        for row in _rows(data / f"BFCL_v4_{category}.json")
    ]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


# The course.


def ask(url: str, key: str, model: str, mode: str, case: Case, max_tokens: int) -> tuple[dict[str, Any], str]:
    """The message, and the model that answered as roost names it."""
    tools = [tool_of(function) for function in case.functions]
    body = {"model": model, "messages": case.messages, "tools": tools, "temperature": 0, "max_tokens": max_tokens}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}", "x-roost-tools": mode}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["choices"][0]["message"], answer.headers.get("x-roost-model") or "?"


def report(name: str, found: Sequence[str]) -> str:
    passed = found.count("ok")
    lower, upper = wilson(passed, len(found))
    others = ", ".join(f"{count} {what}" for what, count in Counter(found).most_common() if what != "ok")
    return f"{name}: {passed}/{len(found)} right (95 %: {lower:.3f} to {upper:.3f})" + (others and f"; {others}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:11434/v1")
    parser.add_argument("--key", default="none")
    parser.add_argument("--model", default="default", help="a role or an id")
    parser.add_argument("--category", choices=CATEGORIES, default="simple_python")
    parser.add_argument("--n", type=int, default=40, help="cases, drawn by --seed; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", action="store_true", help="the first cases of the data instead of drawn ones")
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache/roost-test/bfcl", help="where BFCL lies")
    options = parser.parse_args()
    check, known = checker(fetched(options.folder)), cases(options.folder, options.category)
    count = min(options.n or len(known), len(known))
    drawn = known[:count] if options.first else random.Random(options.seed).sample(known, count)
    found: dict[str, list[str]] = {arm: [] for arm in ARMS}
    answered = set()
    for number, case in enumerate(drawn, 1):
        for arm, mode in ARMS.items():
            message, by = ask(options.url, options.key, options.model, mode, case, options.max_tokens)
            found[arm].append(judge(case, message, check, options.category))
            answered.add(by)
        print(f"\r{number}/{len(drawn)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    which = "the first ones" if options.first else f"seed {options.seed}"
    settings = f"{which}, temperature 0, at most {options.max_tokens} tokens"
    print(f"BFCL {options.category} ({PACKAGE}), {len(drawn)} of {len(known)} cases, {settings}; {', '.join(answered)}")
    for arm, results in found.items():
        print(report(arm, results))


if __name__ == "__main__":
    main()
