"""The steps from a started process to a proven one: until it is healthy, and whose weights it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from roost.catalog.spec import ModelSpec
from roost.engines.types import Healthy, LaunchPlan, Loading, Unhealthy, Unreachable, WorkerHttp
from roost.errors import WorkerFailed
from roost.host.types import Host, Usage
from roost.workers.ends import load_timeout, unreachable
from roost.workers.process import WorkerProcess
from roost.workers.proof import Handover, Mismatch, Proof, prove
from roost.workers.start import StartOrder
from roost.workers.vitals import moved
from roost.workers.wedge import load_stalled

#: Signs of life are sampled so often.
LIFE_PERIOD_S = 1.0


async def until_healthy(
    order: StartOrder,
    http: WorkerHttp,
    plan: LaunchPlan | None,
    life: Callable[[], tuple[Usage, int]],
    loading: Callable[[float | None], None],
    period_s: float,
) -> Healthy:
    """Asks every `period_s`. `life`: blocking, what it has used and said so far. Raises RoostError when it says that it
    cannot, cannot be reached, or shows no sign of life for too long."""
    changed_at, last, sampled_at = asyncio.get_running_loop().time(), (Usage(0.0, 0), 0), 0.0
    while True:
        match await order.engine.health(http):
            case Healthy() as healthy:
                return healthy
            case Unhealthy(reason):
                raise WorkerFailed(f"cannot load {order.spec.id}: {order.engine.name} says: {reason}")
            case Unreachable(reason):
                raise unreachable(order.spec.id, plan, reason)
            case Loading(fraction, _):
                loading(fraction)
        now = asyncio.get_running_loop().time()
        if now - sampled_at >= LIFE_PERIOD_S:
            sampled_at = now
            seen = await asyncio.to_thread(life)
            if moved(last, seen):
                changed_at, last = now, seen
            elif load_stalled(now - changed_at, order.knobs.load_deadline_s):
                raise load_timeout(order, now - changed_at)
        await asyncio.sleep(period_s)


async def proven(host: Host, plan: LaunchPlan, spec: ModelSpec, process: WorkerProcess | None) -> Proof:
    """Raises WorkerFailed."""
    if process:
        await process.identified.wait()
    handed = Handover(process.identity, process.told) if process and process.told else None
    match await asyncio.to_thread(prove, host, plan, spec, process, handed):
        case Proof() as proof:
            return proof
        case Mismatch(reason):
            raise WorkerFailed(
                f"cannot serve {spec.id}: its worker did not prove its weights: {reason}", should_retry=False
            )
