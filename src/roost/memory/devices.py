"""Which GPUs one start gets: fixed, or chosen by what is free on them now; and who must go so that it fits.

Pure. Only those who hold memory on a device that is short may be asked to go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from roost.host.memory_types import Gpu
from roost.memory.budget import HOST, Budget
from roost.memory.needs import Need

#: More GPUs than this are tried from the freest on, not in every combination.
_TRIED_IN_FULL = 8


@dataclass(frozen=True)
class DeviceSet:
    """Where a start lies: bytes by device, the host among them."""

    bytes_by_device: Mapping[str, int]

    @property
    def gpus(self) -> tuple[str, ...]:
        return tuple(device for device in self.bytes_by_device if device != HOST)


@dataclass(frozen=True)
class NoRoom:
    """It fits nowhere: on which device, and how much is missing there."""

    device: str
    needed_bytes: int
    free_bytes: int
    binding: str
    #: It would not fit even with nothing else there: waiting cannot help.
    is_permanent: bool


def place(need: Need, budgets: Mapping[str, Budget], fixed: Sequence[str] = ()) -> DeviceSet | NoRoom:
    """The host and the fewest GPUs that hold it; of equally many, those with the least to spare, so that the freest
    stay for larger models. `fixed`: exactly these."""
    host = budgets[HOST]
    if need.host.total_bytes > host.free_bytes:
        return _short(host, need.host.total_bytes)
    if need.shared_bytes:
        return _place_shared(need, [budget for budget in budgets.values() if budget.is_shared])
    if not need.gpu.total_bytes:
        return DeviceSet({HOST: need.host.total_bytes})
    for chosen in _candidates(_gpus(budgets), fixed):
        if split := split_over(need, chosen):
            return DeviceSet({HOST: need.host.total_bytes, **split})
    return _no_gpus(need, _gpus(budgets), fixed)


def _place_shared(need: Need, gpus: Sequence[Budget]) -> DeviceSet | NoRoom:
    """The host has room already; a GPU that shares its memory may have a limit of its own."""
    for gpu in gpus:
        if need.shared_bytes > gpu.free_bytes:
            return _short(gpu, need.shared_bytes)
    return DeviceSet({HOST: need.host.total_bytes, **{gpu.device: need.shared_bytes for gpu in gpus[:1]}})


def split_over(need: Need, gpus: Sequence[Budget]) -> dict[str, int] | None:
    """Bytes on each GPU, in proportion to what is free on it, as the engines spread layers; None: it does not fit.

    Each holds what every GPU needs for itself, and may get one layer more than its share.
    """
    each = need.each_gpu_bytes
    common = max(need.gpu.total_bytes - each, 0)
    slack = need.granule_bytes if len(gpus) > 1 else 0
    rooms = [gpu.free_bytes - each - slack for gpu in gpus]
    if not gpus or min(rooms) < 0 or sum(rooms) < common:
        return None
    parts = [common * room // max(sum(rooms), 1) for room in rooms]
    parts[0] += common - sum(parts)
    if parts[0] > rooms[0] + slack:
        return None
    return {gpu.device: part + each for gpu, part in zip(gpus, parts, strict=True)}


def _gpus(budgets: Mapping[str, Budget]) -> list[Budget]:
    return [budget for device, budget in budgets.items() if device != HOST and not budget.is_shared]


def _candidates(gpus: list[Budget], fixed: Sequence[str]) -> Iterator[tuple[Budget, ...]]:
    """Sets to try, the best first."""
    if fixed:
        chosen = tuple(gpu for gpu in gpus if gpu.device in fixed)
        if len(chosen) == len(set(fixed)):
            yield chosen
        return
    freest = sorted(gpus, key=lambda gpu: -gpu.free_bytes)
    if len(gpus) > _TRIED_IN_FULL:
        yield from (tuple(freest[:count]) for count in range(1, len(gpus) + 1))
        return
    for count in range(1, len(gpus) + 1):
        sets = combinations(freest, count)
        yield from sorted(sets, key=lambda chosen: sum(gpu.free_bytes for gpu in chosen))


def _short(budget: Budget, needed: int) -> NoRoom:
    return NoRoom(budget.device, needed, budget.free_bytes, budget.binding, needed > budget.most_bytes)


def _no_gpus(need: Need, gpus: list[Budget], fixed: Sequence[str]) -> NoRoom:
    """All of them together are too small, now or ever."""
    meant = [gpu for gpu in gpus if not fixed or gpu.device in fixed]
    emptied = [replace(gpu, limit_bytes=gpu.capacity_bytes, reserved_bytes=0) for gpu in meant]
    ever = any(split_over(need, chosen) for chosen in _candidates(emptied, fixed))
    names = ", ".join(gpu.device for gpu in meant) or "no GPU"
    binding = " and ".join(gpu.binding for gpu in meant) or "there is no GPU that may be used"
    return NoRoom(names, need.gpu.total_bytes, sum(gpu.free_bytes for gpu in meant), binding, not ever)


def visible(gpus: Iterable[str], known: Iterable[Gpu]) -> dict[str, str]:
    """Environment that shows a worker these GPUs alone, by UUID: an index would change with each of them."""
    by_uuid = {gpu.uuid: gpu for gpu in known}
    shown: dict[str, list[str]] = {}
    for uuid in gpus:
        if gpu := by_uuid.get(uuid):
            shown.setdefault(gpu.visible_by, []).append(uuid)
    return {variable: ",".join(uuids) for variable, uuids in shown.items()}


@dataclass(frozen=True)
class Resident:
    """Somebody who holds memory, as far as eviction asks."""

    id: str
    bytes_by_device: Mapping[str, int]
    #: Monotonic time of its last request.
    last_active: float = 0.0
    #: Pinned, busy, or on its way already: it may not be asked to go.
    stays: bool = False


@dataclass(frozen=True)
class Eviction:
    """Who must go, and where the start then lies."""

    ids: tuple[str, ...]
    devices: DeviceSet


def evict_for(
    need: Need, budgets: Mapping[str, Budget], residents: Sequence[Resident], fixed: Sequence[str] = ()
) -> Eviction | NoRoom:
    """The fewest residents that must go, the longest idle first; nobody who holds nothing where memory is short.

    No resident is named when it fits as it is.
    """
    first = place(need, budgets, fixed)
    if isinstance(first, DeviceSet):
        return Eviction((), first)
    movable = sorted((one for one in residents if not one.stays), key=lambda one: one.last_active)
    found: list[tuple[int, float, Eviction]] = []
    for devices in _device_choices(need, budgets, fixed):
        if eviction := _free_up(need, _only(budgets, devices), movable, devices if fixed else ()):
            newest = max((one.last_active for one in movable if one.id in eviction.ids), default=0.0)
            found.append((len(eviction.ids), newest, eviction))
    return min(found, key=lambda item: item[:2])[2] if found else first


def _device_choices(need: Need, budgets: Mapping[str, Budget], fixed: Sequence[str]) -> Iterator[tuple[str, ...]]:
    gpus = [gpu.device for gpu in _gpus(budgets)]
    if fixed:
        yield tuple(fixed)
    elif not need.gpu.total_bytes or len(gpus) > _TRIED_IN_FULL:
        yield tuple(gpus)
    else:
        for count in range(1, len(gpus) + 1):
            yield from combinations(gpus, count)


def _only(budgets: Mapping[str, Budget], devices: Sequence[str]) -> dict[str, Budget]:
    return {
        device: budget for device, budget in budgets.items() if device == HOST or budget.is_shared or device in devices
    }


def _free_up(
    need: Need, budgets: Mapping[str, Budget], movable: Sequence[Resident], fixed: Sequence[str]
) -> Eviction | None:
    """Let one after another go until it fits; then keep whoever was not in the way, bystanders among them."""
    gone: list[Resident] = []
    for resident in movable:
        if isinstance(place(need, _without(budgets, gone), fixed), DeviceSet):
            break
        gone.append(resident)
    for resident in list(gone):
        rest = [one for one in gone if one is not resident]
        if isinstance(place(need, _without(budgets, rest), fixed), DeviceSet):
            gone = rest
    placed = place(need, _without(budgets, gone), fixed)
    return Eviction(tuple(one.id for one in gone), placed) if isinstance(placed, DeviceSet) and gone else None


def _without(budgets: Mapping[str, Budget], gone: Iterable[Resident]) -> dict[str, Budget]:
    """Budgets once these have gone: their promises fall, and what they held is free."""
    after = dict(budgets)
    for resident in gone:
        for device, size in resident.bytes_by_device.items():
            if device in after:
                reserved = max(after[device].reserved_bytes - size, 0)
                after[device] = replace(after[device], reserved_bytes=reserved)
    return after
