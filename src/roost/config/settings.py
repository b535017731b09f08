"""The settings as one frozen value. Each field's description is its reason and becomes the settings reference."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from roost.config.coexistence import CoexistenceSettings as CoexistenceSettings
from roost.config.coexistence import ParkSettings as ParkSettings
from roost.config.far import CANDIDATES, PRIVATE
from roost.config.far import CandidateSettings as CandidateSettings
from roost.config.far import ClassSettings as ClassSettings
from roost.config.far import CloudSettings as CloudSettings
from roost.config.far import NodesSettings as NodesSettings
from roost.config.far import PrivacySettings as PrivacySettings
from roost.config.knobs import Knobs as Knobs
from roost.config.section import MOST_GB
from roost.config.section import Section as Section
from roost.config.selecting import ProfileSettings as ProfileSettings
from roost.config.selecting import SelectorSettings as SelectorSettings
from roost.config.selecting import Strategy as Strategy


class RotationPolicy(StrEnum):
    NEVER = "never"
    IDLE = "idle"
    ALWAYS = "always"


class GatewaySettings(Section):
    """The HTTP endpoint."""

    host: str = Field(
        "127.0.0.1", description="Address to bind. Anything but loopback needs keys, and TLS or trusted_proxies."
    )
    port: int = Field(11434, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    default_when_absent: bool = Field(
        False, description="Serve role `default` when a request names no model; off, such a request is 400."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Further Host header values (name or name:port): a web page cannot rebind its name to roost."
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Origins whose pages may call; empty: none, a request without Origin always passes."
    )
    tls_certificate: str | None = Field(None, description="PEM file with the certificate chain.")
    tls_key: str | None = Field(None, description="PEM file with the private key.")
    trusted_proxies: tuple[str, ...] = Field(
        (),
        description="Addresses or CIDRs of proxies that terminate TLS; what they say of a client (X-Forwarded-For, "
        "X-Forwarded-Proto, Forwarded) is believed. With them host may be an address of the LAN without a "
        "certificate: other machines are refused there.",
    )
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="Larger request bodies are 413 before they are read.")
    max_json_depth: int = Field(64, ge=4, description="Deeper JSON is 400: engines parse recursively.")
    max_header_bytes: int = Field(16 * 2**10, ge=1024, description="Longest header line and longest header field.")
    max_connections: int = Field(
        4096, ge=16, description="Open client connections; one more is answered 503 and closed."
    )
    heartbeat_s: float = Field(10.0, gt=0, description="Silence before a stream gets its 200 and an SSE comment.")
    write_deadline_s: float = Field(60.0, gt=0, description="A client that takes no byte for so long is dropped.")
    body_idle_s: float = Field(30.0, gt=0, description="A request body that stands still for so long is 408.")
    websocket_idle_s: float = Field(
        600.0,
        gt=0,
        description="A websocket under /upstream without a message for so long is closed: while it is open it holds "
        "a place of its model, and no other may take the model's.",
    )
    allow_fields: tuple[str, ...] = Field(
        (),
        description="Request fields let through although they reach native code, files or templates "
        "(n_discard, id_slot, lora, grammar, chat_template, prompt_embeds).",
    )


class RotationSettings(Section):
    """When a model that is not resident may take the resident's place."""

    policy: RotationPolicy = Field(
        RotationPolicy.IDLE,
        description="never: 503; idle: swap once the resident has been idle; always: swap fairly.",
    )
    min_idle_s: float = Field(60.0, ge=0, description="Idle time of the resident before `idle` swaps it.")
    min_residency_s: float = Field(2.0, ge=0, description="No swap before: loading costs more than waiting.")


class QueueSettings(Section):
    """How long and how many requests wait."""

    max_wait_s: float = Field(15.0, gt=0, description="How long traffic to the resident may keep a swap waiting.")
    max_requests: int = Field(64, ge=1, description="Requests a model, running and waiting; beyond it 429.")
    max_overtaken_s: float = Field(
        120.0,
        gt=0,
        description="How long more urgent requests (a higher `priority` of their model, interactive before batch) may "
        "go before one that waits; then it is next.",
    )


class GroupSettings(Section):
    """`[residency.groups.NAME]`: models that are treated alike when room is made. A model is in one group at most; chat
    models in none are a group of their own that swaps and is exclusive. `residency.max_resident` holds besides."""

    members: tuple[str, ...] = Field((), description="Physical ids.")
    swap: bool = Field(True, description="One member at a time; false: all of them may be loaded together.")
    exclusive: bool = Field(True, description="Loading a member unloads the models of other groups, persistent aside.")
    persistent: bool = Field(False, description="Other groups never unload its members.")


class MatrixSettings(Section):
    """`[residency.matrix]`: the combinations of models that may be loaded together, instead of groups. Room is made by
    unloading what costs least; a chat model in no set is loaded alone. `residency.max_resident` holds besides."""

    vars: dict[str, str] = Field(default_factory=dict, description="Short names of physical ids, for the sets.")
    evict_costs: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="What losing a loaded model costs against others; 1 unless given."
    )
    sets: dict[str, str] = Field(
        default_factory=dict,
        description="Expressions: `&` together, `|` one or the other, `()`, `+NAME` for another set. A part of a "
        "combination is allowed too.",
    )


class ResidencySettings(Section):
    """Which models stay loaded."""

    max_resident: int = Field(1, ge=1, description="Chat models at once; embedding and rerank workers not counted.")
    pinned: tuple[str, ...] = Field((), description="Models that a swap never evicts.")
    preload: tuple[str, ...] = Field(
        (), description="Roles or models loaded at start, in order, after the default, as far as they fit together."
    )
    groups: dict[str, GroupSettings] = Field(
        default_factory=dict, description="Which models swap among themselves and which push others out."
    )
    matrix: MatrixSettings | None = Field(None, description="Instead of groups: which models may be loaded together.")


class LoadSettings(Section):
    """What a request sees while its model loads."""

    wait: bool = Field(True, description="A request for a loading model waits; false: 503 `model_loading`.")


class CatalogSettings(Section):
    """Where models are looked for, besides those that roost fetched itself."""

    folders: tuple[str, ...] = Field((), description="Folders searched for models, read-only.")
    huggingface: bool = Field(True, description="Look into the Hugging Face cache.")
    lm_studio: bool = Field(True, description="Look into LM Studio's folder.")
    ollama: bool = Field(True, description="Look into Ollama's store.")
    offline: bool = Field(False, description="Never ask a hub; what is on disk is all there is.")


class ResumeSettings(Section):
    """What a model had computed of its conversations is kept while it is not loaded, so that their next turn does not
    begin anew. The files hold those conversations: they lie in the state folder, readable by its owner only, and are
    removed when the model is loaded again."""

    enabled: bool = Field(
        True,
        description="Write the caches of a model to disk when it goes, and read them when it comes back; "
        "off: nothing of a conversation is written, and what was is removed at the next load of any model.",
    )
    max_bytes: int = Field(
        4 * 2**30,
        ge=0,
        description="Disk that all saved caches may take together; the oldest go first. Nothing is saved while less "
        "than this is free.",
    )


class MemorySettings(Section):
    """How much of this machine's memory models may take: one number, the rest is derived from it and from what is free
    now. Sizes in GB are of 2**30 bytes, as memory is sold. Every start is admitted by these, and `roost plan` and
    `roost models list --fit` say beforehand what would be."""

    max_gb: float | None = Field(
        None,
        gt=0,
        le=MOST_GB,
        description="Most that all models together may take of the host's memory; unset: all but the reserve. "
        "GPUs with memory of their own are used up to what is free on them.",
    )
    desktop_reserve_gb: float | None = Field(
        None,
        ge=0,
        le=MOST_GB,
        description="Left to everything else on this machine; unset: a quarter of its memory, at least 2, at most 16. "
        "Without effect once max_gb is set.",
    )
    night_max_gb: float | None = Field(
        None,
        gt=0,
        le=MOST_GB,
        description="Most that models may take while nobody works here, as batches do; unset: all but a small floor.",
    )
    allow_clamp: bool = Field(
        False,
        description="Start a model that does not fit with fewer sequences or a shorter context, and say so; off: it is "
        "refused with the largest sizes that would fit.",
    )


class LogSettings(Section):
    """What is written down, and how much of it."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="roost's own log.")
    worker_cap_bytes: int = Field(100 * 2**20, ge=4096, description="A worker's log is rotated within this size.")


class ClampRule(Section):
    """The bounds of one number in a request; it is moved to the nearer one."""

    min: float | None = Field(None, description="Smaller numbers become this one.")
    max: float | None = Field(None, description="Larger numbers become this one.")


class FilterSettings(Section):
    """What is changed in a request body before it goes to the model, in this order; `model` is never touched."""

    strip: tuple[str, ...] = Field((), description="Fields removed.")
    set: dict[str, Any] = Field(default_factory=dict, description="Fields set, whatever the request says.")
    default: dict[str, Any] = Field(default_factory=dict, description="Fields set when the request has none.")
    clamp: dict[str, ClampRule] = Field(default_factory=dict, description="Numbers held between min and max.")


class CommandWorker(Section):
    """A model served by any server that a command line starts (engine `command`)."""

    cmd: str = Field(description="Command line; ${PORT} and ${MODEL_ID} are filled in. No shell.")
    cmd_stop: str | None = Field(None, description="Command that stops it; ${PID} is filled in.")
    proxy: str = Field("http://127.0.0.1:${PORT}", description="Where it answers.")
    check_endpoint: str = Field("/health", description="Path that is 200 once it can serve; `none`: no check.")
    served_name: str | None = Field(None, description="The model name it expects; unset: the id.")
    cwd: str | None = Field(None, description="Folder it starts in.")


class ExternalWorker(Section):
    """A model served by an OpenAI server that roost does not supervise (engine `external`)."""

    url: str = Field(description="Base URL, with or without /v1.")
    served_name: str | None = Field(None, description="The model name it expects; unset: the id.")
    api_key: str | None = Field(None, description="Reference to its key, such as env:NAME; never the key itself.")


class ModelSettings(Section):
    """`[models."ID"]`: what is set for one model."""

    engine: dict[str, Any] = Field(default_factory=dict, description="Knobs of this model; see [engine].")
    name: str = Field("", description="Shown beside the id in lists.")
    description: str = Field("", description="What it is for, shown in lists.")
    filters: FilterSettings = Field(FilterSettings(), description="Changes to the requests that it answers.")
    aliases: tuple[str, ...] = Field((), description="Further names of this model.")
    name_filters: dict[str, FilterSettings] = Field(
        default_factory=dict,
        description="Further changes to the requests that use one of its names (the id or an alias), by that name.",
    )
    unlisted: bool = Field(False, description="Not listed, though whoever knows its name may use it.")
    priority: int = Field(0, description="When several models wait to be loaded, the one with the highest goes first.")
    max_requests: int | None = Field(
        None, ge=1, description="Its requests, running and waiting; beyond it 429; unset: queue.max_requests."
    )
    command: CommandWorker | None = Field(None, description="Serve it by a command line of yours; engine `command`.")
    external: ExternalWorker | None = Field(None, description="Serve it by a running server; engine `external`.")
    context_length: int | None = Field(None, description="Declared window of a command or external model.")
    capabilities: tuple[str, ...] = Field(("chat", "completion"), description="Of a command or external model.")
    memory_gb: float | None = Field(
        None,
        gt=0,
        le=MOST_GB,
        description="Memory that it takes, in GB of 2**30 bytes, where roost cannot tell: an architecture that it does "
        "not know, a command or external model.",
    )
    draft_only: bool = Field(False, description="Not listed: only used by other models.")


#: The role that requires tools whatever its table says, and the word for that.
TOOL_ROLE, TOOLS = "tool-calling", "tools"


class RoleSettings(Section):
    """`[roles.NAME]`: what a role asks of its model; the registry says which model that is."""

    requires: tuple[str, ...] = Field(
        (),
        description="What the model must be able to do. tools: `roost models verify` found it fit for them; else a "
        "capability, such as vision.",
    )
    filters: FilterSettings = Field(FilterSettings(), description="Changes to requests that name this role.")
    candidates: tuple[CandidateSettings, ...] = Field((), description=CANDIDATES)
    private: bool = Field(False, description=PRIVATE)


class Settings(Section):
    """Everything that roost.toml may say."""

    gateway: GatewaySettings = GatewaySettings()
    rotation: RotationSettings = RotationSettings()
    queue: QueueSettings = QueueSettings()
    residency: ResidencySettings = ResidencySettings()
    load: LoadSettings = LoadSettings()
    catalog: CatalogSettings = CatalogSettings()
    resume: ResumeSettings = ResumeSettings()
    memory: MemorySettings = MemorySettings()
    coexistence: CoexistenceSettings = CoexistenceSettings()
    park: ParkSettings = ParkSettings()
    log: LogSettings = LogSettings()
    drain_s: Annotated[float, Field(ge=0, description="Longest drain at stop, restart and unload.")] = 30.0
    engine: Knobs = Knobs()
    engines: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Knobs for one engine, by its name.")
    models: dict[str, ModelSettings] = Field(default_factory=dict, description="What is set for one model, by its id.")
    roles: dict[str, RoleSettings] = Field(default_factory=dict, description="What a role asks of its model.")
    classes: dict[str, ClassSettings] = Field(default_factory=dict, description="Kinds of work, and where each goes.")
    nodes: NodesSettings = NodesSettings()
    clouds: dict[str, CloudSettings] = Field(default_factory=dict, description="Providers that may be asked, by name.")
    privacy: PrivacySettings = PrivacySettings()
    selectors: dict[str, SelectorSettings] = Field(default_factory=dict, description="Names that choose a model.")
    profiles: dict[str, ProfileSettings] = Field(default_factory=dict, description="Meanings of names, by profile.")
    profile: str = Field("", description="The profile that is active at the start; empty: none.")

    def required(self, role: str) -> frozenset[str]:
        """What a role asks of its model: what its table says, and tools of the role that is named for them."""
        own = self.roles[role].requires if role in self.roles else ()
        return frozenset(own) | ({TOOLS} if role == TOOL_ROLE else frozenset())

    def knobs(self, model_id: str, engine_name: str | None = None) -> Knobs:
        """The knobs of one model: `[engine]`, then `[engines.NAME]`, then `[models."ID".engine]`.

        Raises pydantic's ValidationError when an override is not a knob; the loader has checked that already.
        """
        own = self.models[model_id].engine if model_id in self.models else {}
        name = engine_name or own.get("name") or self.engine.name
        merged = self.engine.model_dump(exclude_unset=True) | self.engines.get(name, {}) | own
        return Knobs.model_validate(merged | {"name": name})
