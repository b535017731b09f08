"""Clients of others finish a task with two tools on a model whose every call leaks as text: the official SDK,
LangChain, coding agents. The model is a scripted stand-in; roost, its endpoint and the clients are the real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from tests.acceptance.conftest import Roost

AGENTS = os.environ.get("ROOST_TEST_AGENTS", "")
LLM = Path(sys.executable).with_name("llm")
TASK = "Add the numbers in numbers.txt and write the sum to sum.txt"
DONE = "The sum 42 is in sum.txt."
#: The script stands still where no result comes: that must end.
MOST_TURNS = 6


def leaked(name: str, **arguments: str) -> str:
    """A call as Qwen2.5-Coder writes it, which every engine takes for text."""
    return f"```json\n{json.dumps({'name': name, 'arguments': arguments})}\n```"


def function(name: str, *properties: str) -> dict[str, Any]:
    described = {key: {"type": "string"} for key in properties}
    schema = {"type": "object", "properties": described, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": schema}}


TOOLS = [function("read_file", "file_path"), function("write_file", "file_path", "content")]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "numbers.txt").write_text("17\n25\n")
    return folder


@pytest.fixture
def leaking(stand_in: Callable[..., Roost], work: Path) -> Roost:
    """A roost whose default model reads the numbers, writes the sum and says so, each call as text."""
    roost = stand_in('[engine]\ntools = "full"\n')
    # What `roost connect` gives agents is the same model.
    roost.registry(default="a", coding="a")
    roost.start()
    turns = [
        leaked("read_file", file_path=str(work / "numbers.txt")),
        leaked("write_file", file_path=str(work / "sum.txt"), content="42\n"),
        DONE,
    ]
    httpx.post(f"{roost.url}/upstream/a/stand-in/behave", json={"turns": turns}).raise_for_status()
    return roost


def run(name: str, arguments: dict[str, str]) -> str:
    path = Path(arguments["file_path"])
    if name == "read_file":
        return path.read_text()
    path.write_text(arguments["content"])
    return "written"


def put_together(stream: Any) -> dict[str, Any]:
    """The message of a stream, as one puts it back into the conversation."""
    text, calls = "", {}
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for part in choice.delta.tool_calls or ():
                said = {"id": part.id, "type": "function", "function": {"name": part.function.name, "arguments": ""}}
                call = calls.setdefault(part.index, said)
                call["function"]["arguments"] += part.function.arguments or ""
    return {"role": "assistant", "content": text or None} | ({"tool_calls": list(calls.values())} if calls else {})


@pytest.mark.parametrize("stream", [False, True])
def test_the_official_sdk(leaking: Roost, work: Path, stream: bool) -> None:
    client: openai.OpenAI = leaking.client()
    messages: list[Any] = [{"role": "user", "content": TASK}]
    for _ in range(MOST_TURNS):
        answer = client.chat.completions.create(model="default", messages=messages, tools=TOOLS, stream=stream)
        message = put_together(answer) if stream else answer.choices[0].message.model_dump(exclude_none=True)
        messages.append(message)
        if not (calls := message.get("tool_calls")):
            break
        for call in calls:
            result = run(call["function"]["name"], json.loads(call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    assert (messages[-1]["content"], (work / "sum.txt").read_text()) == (DONE, "42\n")
    assert len(messages) == 6


@pytest.mark.agents
def test_langchain(leaking: Roost, work: Path) -> None:
    chat = pytest.importorskip("langchain_openai").ChatOpenAI
    tool_message = pytest.importorskip("langchain_core.messages").ToolMessage
    model = chat(base_url=f"{leaking.url}/v1", api_key="none", model="default", max_retries=0).bind_tools(TOOLS)
    messages: list[Any] = [("user", TASK)]
    for _ in range(MOST_TURNS):
        messages.append(model.invoke(messages))
        if not (calls := messages[-1].tool_calls):
            break
        messages += [tool_message(run(call["name"], call["args"]), tool_call_id=call["id"]) for call in calls]
    assert (messages[-1].content, (work / "sum.txt").read_text()) == (DONE, "42\n")
    assert not any(getattr(message, "invalid_tool_calls", ()) for message in messages)


def served(roost: Roost, *turns: str) -> Roost:
    """A roost whose default model says these turns, one for each number of tool results."""
    httpx.post(f"{roost.url}/upstream/a/stand-in/behave", json={"turns": list(turns)}).raise_for_status()
    return roost


def at_work(command: list[str], work: Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """An agent with a home of its own, told to do the task."""
    return subprocess.run(
        [str(Path(AGENTS) / "node_modules" / command[0]), *command[1:]],
        cwd=work,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


needs_agents = pytest.mark.skipif(
    not AGENTS, reason="ROOST_TEST_AGENTS names no folder with agents; make test-agents makes one"
)


@pytest.mark.agents
@needs_agents
def test_qwen_code(leaking: Roost, work: Path, tmp_path: Path) -> None:
    """Over /v1/chat/completions."""
    (tmp_path / ".qwen").mkdir()
    (tmp_path / ".qwen/settings.json").write_text(json.dumps({"privacy": {"usageStatisticsEnabled": False}}))
    address = ("--auth-type", "openai", "--openai-base-url", f"{leaking.url}/v1", "--openai-api-key", "none")
    quiet = ("--yolo", "--chat-recording", "false")
    done = at_work([".bin/qwen", *quiet, "--model", "default", *address, TASK], work, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout.strip(), (work / "sum.txt").read_text()) == (DONE, "42\n")


def connected(roost: Roost, name: str, *arguments: str) -> Path:
    """A home where this client's settings are what `roost connect` wrote."""
    roost.cli("connect", name, "--write", *arguments)
    return Path(roost.environ["HOME"])


def keyed(roost: Roost, with_key: bool) -> tuple[tuple[str, ...], dict[str, str]]:
    """What `connect` is told and what the client's environment holds, where the endpoint needs a key or none."""
    if not with_key:
        return (), {}
    return ("--key", "env:MY_ROOST"), {"MY_ROOST": roost.cli("keys", "add", "agent").stdout.strip()}


@pytest.mark.agents
@needs_agents
@pytest.mark.parametrize("with_key", [False, True])
def test_claude_code(leaking: Roost, work: Path, with_key: bool) -> None:
    """Over /v1/messages."""
    served(
        leaking,
        leaked("Read", file_path=str(work / "numbers.txt")),
        leaked("Write", file_path=str(work / "sum.txt"), content="42\n"),
        DONE,
    )
    arguments, environment = keyed(leaking, with_key)
    home = connected(leaking, "claude", *arguments)
    # Its program comes in a package for each platform.
    (program,) = (Path(AGENTS) / "node_modules").glob("@anthropic-ai/claude-code-*/claude")
    done = at_work(
        [str(program), "-p", TASK, "--permission-mode", "acceptEdits", "--allowedTools", "Read,Write"],
        work,
        home,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        DISABLE_AUTOUPDATER="1",
        **environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout.strip(), (work / "sum.txt").read_text()) == (DONE, "42\n")
    leaking.cli("connect", "claude", "--restore")
    assert "ANTHROPIC" not in said(home / ".claude/settings.json")


@pytest.mark.agents
@needs_agents
@pytest.mark.parametrize("with_key", [False, True])
def test_codex(leaking: Roost, work: Path, with_key: bool) -> None:
    """Over /v1/responses."""
    served(
        leaking, leaked("exec_command", cmd="cat numbers.txt"), leaked("exec_command", cmd="echo 42 > sum.txt"), DONE
    )
    arguments, environment = keyed(leaking, with_key)
    home = connected(leaking, "codex", *arguments)
    done = at_work([".bin/codex", "exec", "--skip-git-repo-check", "--yolo", TASK], work, home, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout.strip(), (work / "sum.txt").read_text()) == (DONE, "42\n")
    leaking.cli("connect", "codex", "--restore")
    assert "roost" not in said(home / ".codex/config.toml")


def said(path: Path) -> str:
    """What is left of settings: a client may have written its own into them by now."""
    return path.read_text() if path.exists() else ""


@pytest.mark.agents
@pytest.mark.skipif(not LLM.exists(), reason="llm is not installed; make test-agents installs it")
@pytest.mark.parametrize("with_key", [False, True])
def test_llm(leaking: Roost, with_key: bool) -> None:
    """The command line tool, asked by the name that its settings got."""
    home = connected(leaking, "llm")
    environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
    if with_key:
        key = leaking.cli("keys", "add", "llm").stdout
        leaking.cli("connect", "llm", "--write")
        subprocess.run([LLM, "keys", "set", "roost"], env=environ, input=key, text=True, check=True, timeout=60)
    done = subprocess.run(
        [LLM, "-m", "roost", TASK], env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    # What the stand-in says to a request without tools.
    assert done.returncode == 0 and done.stdout.startswith("a read request "), done.stdout + done.stderr
