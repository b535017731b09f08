"""Real roosts on machines of their own: network namespaces, cables that can be pulled, real TLS, a real model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from roost.testing.wait import until_sync
from tests.acceptance.conftest import ROOST, STAND_IN, Roost
from tests.acceptance.lan import Lan, Machine, lan, missing

WHY_NOT = missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

SMOL = "SmolLM2-135M-Instruct-Q4_1"
#: One question by the official SDK: status, node, model, route, and what was said.
ASK = """
import json, sys, openai
url, model, *headers = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60)
try:
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": "Say hello."}], max_tokens=8, temperature=0,
        extra_headers=dict(zip(headers[::2], headers[1::2])),
    )
except openai.APIStatusError as error:
    print(json.dumps({"status": error.status_code, "code": error.code, "message": error.message}))
else:
    told = {name: raw.headers.get(f"x-roost-{name}") for name in ("node", "model", "route", "tried")}
    print(json.dumps({"status": 200, "said": raw.parse().choices[0].message.content, **told}))
"""
#: A long streamed answer, a line a chunk; `error …` or `done` at the end.
STREAM = """
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=120)
try:
    for chunk in client.chat.completions.create(
        model=sys.argv[2], messages=[{"role": "user", "content": "Tell me."}], max_tokens=100000, stream=True
    ):
        print("chunk")
except openai.APIError as error:
    print("error", getattr(error, "code", None), error.message)
else:
    print("done")
"""
ANTHROPIC = """
import sys, anthropic
client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=60)
said = client.messages.create(model=sys.argv[2], max_tokens=8, messages=[{"role": "user", "content": "Say hello."}])
print(said.model, said.content[0].type, said.usage.output_tokens)
"""


@pytest.fixture
def wires() -> Iterator[Lan]:
    with lan() as found:
        yield found


class Box:
    """One machine with its roost."""

    def __init__(self, machine: Machine, roost: Roost, name: str) -> None:
        self.machine, self.roost, self.name = machine, roost, name
        roost.prefix = machine.prefix

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.roost.port}/v1"

    def ask(self, model: str, *headers: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.machine.python(ASK, self.url, model, *headers))
        return found

    def link(self, name: str) -> str:
        return str(self.view(name)["link"])

    def view(self, name: str) -> dict[str, Any]:
        report = json.loads(self.roost.cli("node", "list", "--json").stdout)
        found: dict[str, Any] = next(one for one in report["nodes"] if one["name"] == name)
        return found

    def invite(self) -> tuple[subprocess.Popen[str], str]:
        inviting = subprocess.Popen(
            [*self.roost.prefix, str(ROOST), "node", "invite"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.roost.environ,
        )
        assert inviting.stdout is not None
        return inviting, inviting.stdout.readline().strip()


@pytest.fixture
def make_box(wires: Lan, make_roost: Callable[[], Roost]) -> Callable[..., Box]:
    def make(name: str, settings: str, **roles: str) -> Box:
        box = Box(wires.machine(), make_roost(), name)
        # The order of tables matters in TOML: the node's own comes last.
        box.roost.settings(f'{settings}\n[nodes]\nname = "{name}"\nlook_every_s = 0.3\nconnect_timeout_s = 1\n')
        box.roost.registry(**roles)
        return box

    return make


def models(*names: str) -> str:
    return "\n".join(f'[models."{name}".command]\ncmd = "{STAND_IN} --token-delay-s 0.02"' for name in names)


def pair(server: Box, laptop: Box) -> None:
    inviting, code = server.invite()
    with inviting:
        laptop.roost.cli("node", "join", code)
        assert inviting.wait(20) == 0
    until_sync(lambda: laptop.link(server.name) == "up", timeout_s=20)


def test_the_basements_model_is_the_laptops_default(make_box: Callable[..., Box]) -> None:
    basement = make_box("basement", "")
    basement.roost.start("--profile", "server")
    laptop = make_box("laptop", "", default=f"{SMOL}@basement")
    laptop.roost.launch()
    pair(basement, laptop)
    # The ready line comes when, and only when, the default can answer: the one over there.
    assert laptop.roost.process is not None and laptop.roost.process.stdout is not None
    line = laptop.roost.process.stdout.readline()
    assert line.startswith("roost ready ") and line.endswith(f"model={SMOL} engine=roost@basement\n")
    for name in ("default", "coding", f"{SMOL}@basement", "default@basement"):
        told = laptop.ask(name)
        assert (told["status"], told["node"], told["model"]) == (200, "basement", SMOL), told
        assert told["said"]
    assert laptop.machine.python(ANTHROPIC, laptop.url.removesuffix("/v1"), "default").startswith(f"{SMOL} text ")
    stream = laptop.machine.python(STREAM.replace("100000", "12"), laptop.url, "default").split()
    assert stream.count("chunk") >= 3 and stream[-1] == "done"
    assert laptop.ask("gpt-4")["status"] == 404
    assert laptop.roost.cli("ask", "Say hello.", "--local", "--max-tokens", "8").stdout.strip()
    rows = basement.roost.journal()
    assert any(row.get("peer") == "laptop" for row in rows), "the basement's log says who asked"
    status = laptop.roost.cli("status").stdout
    assert f"{SMOL}@basement" in status


@pytest.mark.thorough
def test_a_cable_is_pulled_between_requests_and_put_back(make_box: Callable[..., Box]) -> None:
    basement = make_box("basement", models("big"), default="big")
    basement.roost.start("--profile", "server")
    roles = '[roles.coding]\ncandidates = ["basement/big", "local"]'
    laptop = make_box("laptop", f"{models('small')}\n{roles}", default="small")
    laptop.roost.start()
    pair(basement, laptop)
    assert laptop.ask("coding")["node"] == "basement"
    basement.machine.unplug()
    told = laptop.ask("coding")
    assert (told["status"], told["node"], told["model"]) == (200, "laptop", "small"), told
    until_sync(lambda: laptop.link("basement") == "down", timeout_s=20)
    told = laptop.ask("big")
    assert (told["status"], told["code"]) == (503, "node_unreachable"), told
    assert laptop.ask("coding", "x-roost-fallback", "never")["status"] == 503
    explained = json.loads(laptop.roost.cli("explain", "coding", "--json").stdout)
    assert [step["may_serve"] for step in explained["steps"]] == [False, True]
    basement.machine.plug_in()
    until_sync(lambda: laptop.ask("coding")["node"] == "basement", timeout_s=20, what="the basement serves again")


def test_a_cable_is_pulled_in_the_middle_of_a_stream(make_box: Callable[..., Box]) -> None:
    basement = make_box("basement", models("big"), default="big")
    basement.roost.start("--profile", "server")
    laptop = make_box("laptop", models("small"), default="small")
    laptop.roost.start()
    pair(basement, laptop)
    with laptop.machine.popen(STREAM, laptop.url, "big") as stream:
        assert stream.stdout is not None
        assert stream.stdout.readline() == "chunk\n"
        basement.machine.unplug()
        last = stream.stdout.read().splitlines()[-1]
    assert last.startswith("error"), last
    assert laptop.ask("default")["node"] == "laptop"
    # Nobody reads it any more: the worker over there is free again.
    basement.machine.plug_in()
    until_sync(lambda: basement.roost.worker("big")["running"] == 0, timeout_s=60, what="the basement let go")


def test_a_cable_is_pulled_while_machines_are_paired(make_box: Callable[..., Box]) -> None:
    basement = make_box("basement", models("big"), default="big")
    basement.roost.start("--profile", "server")
    laptop = make_box("laptop", models("small"), default="small")
    laptop.roost.start()
    inviting, code = basement.invite()
    with inviting:
        basement.machine.unplug()
        failed = laptop.roost.cli("node", "join", code, check=False)
        assert failed.returncode == 1 and "Traceback" not in failed.stderr, failed.stderr
        assert json.loads(laptop.roost.cli("node", "list", "--json").stdout)["nodes"] == []
        basement.machine.plug_in()
        # The code was not used up by what never arrived.
        laptop.roost.cli("node", "join", code)
        assert inviting.wait(20) == 0
    until_sync(lambda: laptop.link("basement") == "up", timeout_s=20)
    replayed = laptop.roost.cli("node", "join", code, check=False)
    assert replayed.returncode == 1, replayed.stdout


@pytest.mark.thorough
def test_three_machines_know_each_other_by_their_keys_and_not_by_their_addresses(
    make_box: Callable[..., Box],
) -> None:
    basement = make_box("basement", models("big"), default="big", oss="huge@attic")
    attic = make_box("attic", models("huge"), default="huge")
    basement.roost.start("--profile", "server")
    attic.roost.start("--profile", "server")
    laptop = make_box("laptop", models("small"), default="small")
    laptop.roost.start()
    pair(basement, laptop)
    pair(attic, laptop)
    pair(attic, basement)
    assert (laptop.ask("big")["node"], laptop.ask("huge")["node"]) == ("basement", "attic")
    assert basement.ask("oss")["node"] == "attic"
    # What came from a paired machine is served there or not at all: it never goes on to a third one.
    told = laptop.ask("oss@basement")
    assert told["status"] in (404, 503), told
    told = laptop.ask("huge@basement")
    assert told["status"] in (404, 503), told
    # The attic takes the basement's address.
    there = basement.machine.address
    basement.machine.unplug()
    attic.machine.move_to(there)
    until_sync(lambda: laptop.link("basement") == "down", timeout_s=30)
    told = laptop.ask("big")
    assert (told["status"], told["code"]) == (503, "node_unreachable"), told
    problem = laptop.view("basement")["problem"]
    assert problem, laptop.view("basement")


@pytest.mark.thorough
def test_a_machine_that_was_revoked_is_out_at_once(make_box: Callable[..., Box]) -> None:
    basement = make_box("basement", models("big"), default="big")
    basement.roost.start("--profile", "server")
    laptop = make_box("laptop", models("small"), default="small")
    laptop.roost.start()
    pair(basement, laptop)
    assert laptop.ask("big")["status"] == 200
    basement.roost.cli("node", "revoke", "laptop")
    told = laptop.ask("big")
    assert told["status"] == 503, told
