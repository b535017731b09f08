"""The settings as one frozen value. Each field's description is its reason and becomes the settings reference."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the settings: immutable, and an unknown key is an error rather than silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RotationPolicy(StrEnum):
    NEVER = "never"
    IDLE = "idle"
    ALWAYS = "always"


class GatewaySettings(Section):
    """The HTTP endpoint."""

    host: str = Field("127.0.0.1", description="Address to bind. Anything but loopback needs keys and TLS.")
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


class ResidencySettings(Section):
    """Which models stay loaded."""

    max_resident: int = Field(1, ge=1, description="Chat models at once; embedding and rerank workers not counted.")
    pinned: tuple[str, ...] = Field((), description="Models that a swap never evicts.")
    preload: tuple[str, ...] = Field((), description="Roles or models loaded at start, in order, after the default.")


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


class LogSettings(Section):
    """What is written down, and how much of it."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="roost's own log.")
    worker_cap_bytes: int = Field(100 * 2**20, ge=4096, description="A worker's log is rotated within this size.")


class Knobs(Section):
    """Tuning of an engine. `[engine]` holds for all, `[engines.NAME]` for one engine, `[models."ID".engine]` for one
    model; the narrower wins field by field. A knob that the chosen engine cannot honour is an error naming it."""

    name: str = Field(
        "auto",
        description="Engine: auto, llama.cpp, mlx-lm, vllm-mlx, external or command. auto takes an installed MLX "
        "engine on Apple Silicon for safetensors, else llama.cpp.",
    )
    context: int | None = Field(
        None,
        ge=256,
        description="Context window in tokens of one request; unset: the trained one, at most 32768, because KV is "
        "reserved for the whole of it.",
    )
    max_sequences: int = Field(4, ge=1, le=256, description="Requests generated at once; the only concurrency setting.")
    generation_cap: int | None = Field(
        None, ge=1, description="Most tokens a reply may have: a model that never stops must not hold the machine."
    )
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="Used when a request sets none; a light one (0.1) ends repetition loops."
    )
    presence_penalty: float | None = Field(None, ge=-2, le=2, description="Used when a request sets none.")
    prefix_cache: bool = Field(True, description="Reuse the KV of a common prefix between turns.")
    prefix_cache_mb: int = Field(
        512, ge=0, description="Memory reserved for cached prefixes: small and fixed, engines' defaults grow unbounded."
    )
    resume: bool = Field(
        True,
        description="Keep the caches of this model's conversations on disk while it is not loaded (llama.cpp, "
        "vllm-mlx); `resume.enabled` turns it off for all.",
    )
    kv_cache_type: Literal["auto", "f16", "bf16", "q8_0", "q4_0"] = Field(
        "auto", description="Element type of the KV cache; quantized saves memory and costs quality."
    )
    paged_cache: bool | None = Field(None, description="Paged KV blocks (vllm-mlx); block sharing needs it.")
    prefix_sharing: bool | None = Field(
        None, description="Share prefix blocks between running requests (vllm-mlx); needs paged_cache."
    )
    continuous_batching: bool = Field(True, description="Let requests join a running batch; off: one after another.")
    gpu_memory_share: float | None = Field(
        None, gt=0, le=1, description="Share of GPU memory that the engine may take (vllm-mlx)."
    )
    gpu_layers: int | None = Field(None, ge=0, description="Layers on the GPU (llama.cpp); unset: all that fit.")
    threads: int | None = Field(None, ge=1, description="CPU threads (llama.cpp); unset: the physical cores.")
    prefill_batch: int | None = Field(
        None, ge=32, description="Prompt tokens computed in one step; smaller steps make a cancel finer."
    )
    completion_batch: int | None = Field(None, ge=1, description="Sequences decoded in one step (mlx-lm).")
    chunked_prefill: bool | None = Field(
        None, description="Interleave prefill chunks with decoding (vllm-mlx): long prompts do not stall others."
    )
    chat_template_args: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the chat template, such as enable_thinking."
    )
    tool_parser: str | None = Field(None, description="Tool-call parser; unset: by the chat template's family.")
    reasoning_parser: str | None = Field(None, description="Reasoning parser; unset: by the chat template's family.")
    speculative_decoding: bool = Field(False, description="Off: a draft model costs memory; measure before turning on.")
    draft_model: str | None = Field(None, description="Draft model's id for speculative decoding.")
    load_deadline_s: float = Field(
        120.0, gt=0, description="A load that shows no sign of life (CPU, memory, output) for so long has failed."
    )
    idle_ttl_s: float = Field(0.0, ge=0, description="Unload after so long without a request; 0: never.")
    stall_s: float = Field(
        30.0,
        gt=0,
        description="A stream without a token for so long is stalled; the first token "
        "gets more, in proportion to the prompt.",
    )
    process_priority: Literal["normal", "high"] = Field(
        "normal", description="Scheduling of the worker; never background: that costs an order of magnitude."
    )
    engine_log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The engine's own log.")
    env: dict[str, str] = Field(default_factory=dict, description="Environment added to the worker's clean one.")
    extra_args: tuple[str, ...] = Field((), description="Flags appended to the engine's; roost's own are refused.")


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
    draft_only: bool = Field(False, description="Not listed: only used by other models.")


class RoleSettings(Section):
    """`[roles.NAME]`: what a role asks of its model; the registry says which model that is."""

    requires: tuple[str, ...] = Field((), description="Capabilities the model must have, such as tools.")
    filters: FilterSettings = Field(FilterSettings(), description="Changes to requests that name this role.")


class Settings(Section):
    """Everything that roost.toml may say."""

    gateway: GatewaySettings = GatewaySettings()
    rotation: RotationSettings = RotationSettings()
    queue: QueueSettings = QueueSettings()
    residency: ResidencySettings = ResidencySettings()
    load: LoadSettings = LoadSettings()
    catalog: CatalogSettings = CatalogSettings()
    resume: ResumeSettings = ResumeSettings()
    log: LogSettings = LogSettings()
    drain_s: Annotated[float, Field(ge=0, description="Longest drain at stop, restart and unload.")] = 30.0
    engine: Knobs = Knobs()
    engines: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Knobs for one engine, by its name.")
    models: dict[str, ModelSettings] = Field(default_factory=dict, description="What is set for one model, by its id.")
    roles: dict[str, RoleSettings] = Field(default_factory=dict, description="What a role asks of its model.")

    def knobs(self, model_id: str, engine_name: str | None = None) -> Knobs:
        """The knobs of one model: `[engine]`, then `[engines.NAME]`, then `[models."ID".engine]`.

        Raises pydantic's ValidationError when an override is not a knob; the loader has checked that already.
        """
        own = self.models[model_id].engine if model_id in self.models else {}
        name = engine_name or own.get("name") or self.engine.name
        merged = self.engine.model_dump(exclude_unset=True) | self.engines.get(name, {}) | own
        return Knobs.model_validate(merged | {"name": name})
