"""How models give way to whoever works at this machine, and what is left of them; a part of the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from roost.config.section import Section


class ParkSettings(Section):
    """A model that goes leaves its process behind, without its memory, where its engine can do that: it is back sooner
    than a new process. Memory is promised anew before it wakes, and its weights are proven again."""

    engines: tuple[str, ...] = Field(
        ("vllm-mlx",),
        description="Engines whose models are parked. With vllm-mlx a wake took 1.3 s where a start took 4.2. "
        "llama.cpp can park too; it gives its memory back, and its wake was no faster than a start.",
    )
    max_parked: int = Field(
        2, ge=0, description="Parked processes kept; the longest parked is ended. Each keeps some ten MB of programs."
    )
    stop_after_s: float = Field(
        3600.0, gt=0, description="A parked process that nobody asked for in this time is ended."
    )


class CoexistenceSettings(Section):
    """How models give way to whoever works at this machine. In mode `modest` (on battery, others busy) and `minimal`
    (low-power mode, low charge, memory pressure) a model goes sooner and serves fewer requests at once; in mode `full`
    everything is as the other settings say. `roost status` tells the mode and why. Pinned models and servers that run
    elsewhere keep their times."""

    enabled: bool = Field(True, description="Off: always mode `full`, nothing is read and nothing kept awake.")
    profile: Literal["workstation", "server"] = Field(
        "workstation",
        description="workstation: somebody works here, models give way; server: the machine is there to serve, nothing "
        "of this part is done, and others may come in (`nodes.listen`). `roost up --profile server` sets it too.",
    )
    low_charge_percent: int = Field(
        30, ge=0, le=100, description="On battery below this charge the mode is `minimal`: what is left is not roost's."
    )
    busy_percent: float = Field(
        60.0,
        gt=0,
        le=100,
        description="Share of all cores that programs other than roost's use, from which on others count as busy.",
    )
    calm_percent: float = Field(
        35.0,
        ge=0,
        le=100,
        description="Share below which they are no longer busy; lower than busy_percent, or the mode would flicker.",
    )
    memory_waited_percent: float = Field(
        2.0,
        gt=0,
        description="Share of time in which programs waited for memory (Linux) that counts as pressure: less than what "
        "raises the memory alarm, so that models give way before it is needed. macOS: its own warning level.",
    )
    memory_free_percent: float = Field(
        8.0, ge=0, le=100, description="Less available memory than this share of all of it counts as pressure too."
    )
    rise_s: float = Field(15.0, ge=0, description="A reason must last so long before the mode follows it.")
    settle_s: float = Field(
        90.0, ge=0, description="It must be gone for so long before the mode lets go: a reload costs more than waiting."
    )
    modest_idle_ttl_s: float = Field(
        300.0, gt=0, description="Idle time after which a model goes in mode `modest`, if it has no shorter one."
    )
    modest_sequences: int = Field(2, ge=1, description="Requests generated at once for a model in mode `modest`.")
    minimal_idle_ttl_s: float = Field(
        20.0, gt=0, description="The same in mode `minimal`; long enough for the next turn of a conversation's tools."
    )
    minimal_sequences: int = Field(1, ge=1, description="The same in mode `minimal`.")
    preload: bool = Field(
        True, description="Load again what had to go for these modes, once the mode is `full` and nobody types."
    )
    preload_pause_s: float = Field(
        30.0, ge=0, description="Nobody must have typed for so long before that, where the machine tells (macOS)."
    )
    cold_share: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Share of an idle model's memory that may be swapped out, compressed or dropped before it is asked "
        "for a token, to see what that costs.",
    )
    cold_probe_s: float = Field(
        2.0, gt=0, description="A model whose memory is away and that does not make this one token in time is cold."
    )
    cold_action: Literal["auto", "warm", "release", "leave"] = Field(
        "auto",
        description="What is done with a cold model before the next request pays for it. warm: it makes a token, "
        "however long that takes; release: it goes, parked or ended; auto: warm in mode `full`, else release; leave: "
        "it is shown.",
    )
    keep_awake: Literal["mains", "always", "never"] = Field(
        "mains",
        description="While a request runs or a model loads the machine does not fall asleep by itself: on mains only, "
        "because a lid that closes in a bag must win; an idle roost never keeps it awake.",
    )
