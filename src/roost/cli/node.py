"""`roost node …`: this machine among others of yours."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from roost.api import InviteOutcome, NodeReport, NodesReport
from roost.cli.doors import ask_daemon, here
from roost.cli.format import columns, duration, size
from roost.cli.models import JsonOption
from roost.cli.output import note, say, say_all, say_json
from roost.errors import NotFound, RoostError

HEADER = ("NODE", "LINK", "LATENCY", "MODELS", "BUDGET", "ADDRESS")
_SAID = {
    "expired": "the invite has expired and nobody used it",
    "burned": "the invite was withdrawn after too many wrong tries; somebody may have tried to guess it",
}


class InviteUnused(RoostError):
    """Nobody was paired by it."""


def node_invite(
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until somebody has used it.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Make a one-time code for another machine of yours, good for ten minutes.

    Run "roost node join CODE" there. Both screens then show the same words; if they differ, revoke it at once.

    \b
    Example:
      roost node invite
    """
    invitation = ask_daemon(lambda client: client.node_invite())
    if as_json and not wait:
        say_json(invitation)
        return
    if as_json:
        note(invitation.code)
    else:
        say(invitation.code)
        left = duration(invitation.expires_at - time.time())
        note(f"  on the other machine, within {left}: roost node join {invitation.code}")
        note(f"  it will come to {', '.join(invitation.addresses)}")
    if not wait:
        return
    outcome = ask_daemon(lambda client: client.node_outcome(invitation.invite))
    if as_json:
        say_json(outcome)
    _tell(outcome, quietly=as_json)


def _tell(outcome: InviteOutcome, *, quietly: bool) -> None:
    if outcome.state != "used":
        raise InviteUnused(f'{_SAID.get(outcome.state, outcome.state)}; "roost node invite" makes another')
    if not quietly:
        say(f"paired with {outcome.peer}: {outcome.words}")
        note(f"  the other screen must show the same words; if not: roost node revoke {outcome.peer}")


def node_join(
    code: Annotated[str, typer.Argument(metavar="CODE", help='What "roost node invite" printed on the other machine.')],
    as_json: JsonOption = False,
) -> None:
    """Pair this machine with the one that made the code.

    \b
    Example:
      roost node join roost-aebagbaf
    """
    paired = ask_daemon(lambda client: client.node_join(code))
    if as_json:
        say_json(paired)
        return
    say(f"paired with {paired.name} at {paired.address}: {paired.words}")
    note(f"  the other screen must show the same words; if not: roost node revoke {paired.name}")


def node_list(as_json: JsonOption = False) -> None:
    """This machine and those that are paired with it: link, latency, models, budget, and what is wrong.

    \b
    Example:
      roost node list
    """
    report = ask_daemon(lambda client: client.nodes())
    if as_json:
        say_json(report)
        return
    say_all(own_lines(report))
    if report.nodes:
        say_all(columns([HEADER, *(row(node) for node in report.nodes)]))
        say_all(line for node in report.nodes for line in problem_lines(node, time.time()))
    else:
        note(
            '  no machine is paired with this one; "roost node invite" on one and "roost node join" on the other do it'
        )


def own_lines(report: NodesReport) -> list[str]:
    """This machine in a line or two."""
    where = f"lets others in at {', '.join(report.addresses)}" if report.addresses else "lets no other machine in"
    key = f", key {report.node_id[:12]}" if report.node_id else ""
    lines = [f"{report.name} (this machine){key}: {where}"]
    return lines + ([f"  {report.problem}"] if report.problem else [])


def row(node: NodeReport) -> tuple[str, ...]:
    """One machine in the table."""
    link = f"{node.link}, draining" if node.draining else node.link
    latency = f"{node.latency_s * 1000:.1f} ms" if node.latency_s is not None else "-"
    resident = sum(model.state == "resident" for model in node.models)
    models = f"{len(node.models)} ({resident} resident)" if node.models else "-"
    budget = f"{size(node.free_bytes)} of {size(node.budget_bytes)} free" if node.budget_bytes is not None else "-"
    return (node.name, link, latency, models, budget, node.address or "comes to us")


def problem_lines(node: NodeReport, now: float) -> list[str]:
    """What is wrong with it, and the command that mends it."""
    if node.problem is None:
        return []
    seen = f" (last seen {duration(now - node.seen_at)} ago)" if node.seen_at is not None else ""
    mend = f"; {node.mend}" if node.mend else ""
    return [f"{node.name}: {node.problem}{seen}{mend}"]


def node_revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help='As "roost node list" shows it, or digits of its key.')],
    as_json: JsonOption = False,
) -> None:
    """Part from a machine: from now on it may ask nothing here, whatever connections it has open.

    \b
    Example:
      roost node revoke laptop
    """
    gone = ask_daemon(lambda client: client.node_revoke(name))
    if as_json:
        say_json(gone)
        return
    say(f"revoked {gone.name} ({gone.node_id[:12]})")
    note("  it keeps this machine in its own list until it is revoked there too")


def node_ca() -> None:
    """Print the certificate of roost's own authority, for plain clients on the LAN, and how each is told of it.

    Only the certificate is printed on standard output. It may sign for names and addresses of home networks alone.

    \b
    Example:
      roost node ca > roost-ca.pem
    """
    path = here().paths.node / "ca.pem"
    try:
        certificate = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise NotFound(
            'there is no authority yet: it is made when others are let in; run "roost up --profile server", or set '
            'nodes.listen = "0.0.0.0:11443"'
        ) from None
    say(certificate.rstrip("\n"))
    for line in CLIENTS:
        note(line)


CLIENTS = (
    "  copy this certificate to each client, as roost-ca.pem, and give the client a key (roost keys add NAME):",
    "  curl                    --cacert roost-ca.pem",
    "  openai, anthropic       SSL_CERT_FILE=roost-ca.pem   (Python; beside it no public site is trusted)",
    "  Claude Code, node       NODE_EXTRA_CA_CERTS=roost-ca.pem",
    "  Codex                   CODEX_CA_CERTIFICATE=roost-ca.pem",
    "  Debian, Ubuntu          cp roost-ca.pem /usr/local/share/ca-certificates/roost.crt && update-ca-certificates",
    "  Fedora                  cp roost-ca.pem /etc/pki/ca-trust/source/anchors/ && update-ca-trust",
    "  macOS                   security add-trusted-cert -k ~/Library/Keychains/login.keychain-db roost-ca.pem",
)
