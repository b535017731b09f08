"""The clients: a row each, and what their settings must say. Sources: each program's own documentation."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

from roost.connect.client import (
    KEY_VARIABLE,
    NO_KEY,
    Client,
    Key,
    KeyInVariable,
    KeyItself,
    Kind,
    Places,
    Reference,
    Setup,
    Target,
)
from roost.connect.types import Edit, Format, Item
from roost.connect.values import edits_of

#: The name that providers and models get in clients' settings.
ROOST = "roost"
#: Where a client must be told a window and none is known.
LIKELY_CONTEXT_TOKENS = 32_768
_MOST_ANSWER_TOKENS = 8192
_CLAUDE_NAMES = frozenset({"default", "best", "sonnet", "opus", "haiku", "opusplan"})
_CONTINUE_ITEM = Item(key="name", name=ROOST)
_LLM_ITEM = Item(key="model_id", name=ROOST)


def _written(key: Key, reference: str) -> str | None:
    """The key as settings spell it: itself, or a reference with the variable's name in it; None: none is needed."""
    match key:
        case KeyItself(secret):
            return secret
        case KeyInVariable(name):
            return reference.format(name=name)
        case None:
            return None


def _claude(target: Target) -> Setup:
    # All its sizes are one model: another one for titles would push the resident out and back again.
    names = ("ANTHROPIC_MODEL", *(f"ANTHROPIC_DEFAULT_{size}_MODEL" for size in ("HAIKU", "SONNET", "OPUS")))
    environment = {"ANTHROPIC_BASE_URL": target.base_url, **dict.fromkeys(names, target.model)}
    if target.context_tokens:
        # It takes names that it does not know for models of a million tokens.
        environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] = str(target.context_tokens)
    settings: dict[str, Any] = {"env": environment}
    token = "ANTHROPIC_AUTH_TOKEN"
    match target.key:
        # A shell variable of its own name needs no helper.
        case KeyInVariable(name) if name != token:
            settings["apiKeyHelper"] = f"printenv {name}"
        case KeyInVariable():
            pass
        case key:
            environment[token] = key.secret if key else NO_KEY
    notes = ("its first prompt has some 20,000 tokens: the model needs a window of 32,000 or more",)
    return Setup(edits_of(settings, secrets=[("env", token)]), environment, notes)


def _codex(target: Target) -> Setup:
    provider = {"name": ROOST, "base_url": target.api_url, "wire_api": "responses"}
    if isinstance(target.key, KeyInVariable):
        provider["env_key"] = target.key.name
    settings: dict[str, Any] = {"model": target.model, "model_provider": ROOST}
    if target.context_tokens:
        settings["model_context_window"] = target.context_tokens
    settings["model_providers"] = {ROOST: provider}
    return Setup(edits_of(settings), notes=("it says that it has no metadata of this model; that is no fault",))


def _opencode(target: Target) -> Setup:
    options = {"baseURL": target.api_url}
    if (key := _written(target.key, "{{env:{name}}}")) is not None:
        options["apiKey"] = key
    model: dict[str, Any] = {"name": f"{target.model} ({ROOST})", "tool_call": True}
    if target.context_tokens:
        model["limit"] = {"context": target.context_tokens, "output": _answer_tokens(target.context_tokens)}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": ROOST, "options": options, "models": {target.model: model}}
    name = f"{ROOST}/{target.model}"
    settings = {"model": name, "small_model": name, "provider": {ROOST: provider}}
    return Setup(edits_of(settings, secrets=[("provider", ROOST, "options", "apiKey")]))


def _continue(target: Target) -> Setup:
    key = _written(target.key, "${{{{ secrets.{name} }}}}")
    model = {
        "provider": "openai",
        "model": target.model,
        "apiBase": target.api_url,
        "apiKey": NO_KEY if key is None else key,
        "roles": ["chat", "edit", "apply"],
        "capabilities": ["tool_use"],
    }
    notes = ("in an editor it reads secrets from ~/.continue/.env",) if isinstance(target.key, KeyInVariable) else ()
    path = ("models", _CONTINUE_ITEM)
    # It reads no file without these.
    heading = {"name": ROOST, "version": "1.0.0", "schema": "v1"}
    head = tuple(Edit(path=(key,), value=value, unless_there=True) for key, value in heading.items())
    return Setup((*head, *edits_of(model, path, secrets=[(*path, "apiKey")])), notes=notes)


def _llm(target: Target) -> Setup:
    model: dict[str, Any] = {"model_name": target.model, "api_base": target.api_url, "supports_tools": True}
    notes = [f'ask with "llm -m {ROOST} …"']
    if target.key is not None:
        model["api_key_name"] = ROOST
        notes.append(f'it keeps keys itself: "llm keys set {ROOST}" asks for it')
    return Setup(edits_of(model, (_LLM_ITEM,)), notes=tuple(notes))


def _open_webui(target: Target) -> Setup:
    environment = {
        "OPENAI_API_BASE_URL": target.api_url,
        "OPENAI_API_KEY": _written(target.key, "${name}") or NO_KEY,
        "DEFAULT_MODELS": target.model,
    }
    notes = (
        "it reads these at its first start only; later they are in its Admin Settings under Connections",
        "in a container 127.0.0.1 is the container: publish roost on an address that it reaches, or use --network host",
    )
    return Setup(environment=environment, notes=notes)


def _zed(target: Target) -> Setup:
    model = {
        "name": target.model,
        "display_name": f"{target.model} ({ROOST})",
        "max_tokens": target.context_tokens or LIKELY_CONTEXT_TOKENS,
        "capabilities": {"tools": True, "images": False, "parallel_tool_calls": True, "prompt_cache_key": True},
    }
    settings = {
        "language_models": {"openai_compatible": {ROOST: {"api_url": target.api_url, "available_models": [model]}}},
        "agent": {"default_model": {"provider": ROOST, "model": target.model}},
    }
    needed = "the key" if target.key else "anything, since it wants one"
    notes = (f"it reads its key from {KEY_VARIABLE} or its own keychain: put {needed} there",)
    return Setup(edits_of(settings), notes=notes)


def _vscode(target: Target) -> Setup:
    context_tokens = target.context_tokens or LIKELY_CONTEXT_TOKENS
    answer_tokens = _answer_tokens(context_tokens)
    model = {
        "name": f"{target.model} ({ROOST})",
        "url": f"{target.api_url}/chat/completions",
        "toolCalling": True,
        "vision": False,
        # It counts the window as the sum of both.
        "maxInputTokens": context_tokens - answer_tokens,
        "maxOutputTokens": answer_tokens,
    }
    key = target.key.secret if isinstance(target.key, KeyItself) else NO_KEY
    provider = {"vendor": "customendpoint", "apiType": "chat-completions", "apiKey": key}
    path = (Item(key="name", name=ROOST),)
    edits = (
        *edits_of(provider, path, secrets=[(*path, "apiKey")]),
        *edits_of(model, (*path, "models", Item(key="id", name=target.model))),
    )
    return Setup(edits, notes=("choose the model in the chat's picker (VS Code 1.122 or newer)",))


def _answer_tokens(context_tokens: int) -> int:
    return min(_MOST_ANSWER_TOKENS, context_tokens // 4)


def _opencode_file(places: Places) -> FilePath:
    if named := places.environ.get("OPENCODE_CONFIG"):
        return FilePath(named).expanduser().absolute()
    folder = places.config / "opencode"
    commented = folder / "opencode.jsonc"
    return commented if commented.exists() else folder / "opencode.json"


CLIENTS: tuple[Client, ...] = (
    Client(
        name="claude",
        title="Claude Code",
        kind=Kind.AGENT,
        setup=_claude,
        format=Format.JSON,
        file=lambda places: places.moved_by("CLAUDE_CONFIG_DIR", places.home / ".claude") / "settings.json",
        address_at=("env", "ANTHROPIC_BASE_URL"),
        reference=Reference.VARIABLE,
        holds_key=True,
        own_names=_CLAUDE_NAMES,
    ),
    Client(
        name="codex",
        title="Codex",
        kind=Kind.AGENT,
        setup=_codex,
        format=Format.TOML,
        file=lambda places: places.moved_by("CODEX_HOME", places.home / ".codex") / "config.toml",
        address_at=("model_providers", ROOST, "base_url"),
        reference=Reference.VARIABLE,
        holds_key=False,
    ),
    Client(
        name="opencode",
        title="opencode",
        kind=Kind.AGENT,
        setup=_opencode,
        format=Format.JSONC,
        file=_opencode_file,
        address_at=("provider", ROOST, "options", "baseURL"),
        reference=Reference.VARIABLE,
        holds_key=True,
    ),
    Client(
        name="continue",
        title="Continue",
        kind=Kind.AGENT,
        setup=_continue,
        format=Format.YAML,
        file=lambda places: places.moved_by("CONTINUE_GLOBAL_DIR", places.home / ".continue") / "config.yaml",
        address_at=("models", _CONTINUE_ITEM, "apiBase"),
        reference=Reference.VARIABLE,
        holds_key=True,
    ),
    Client(
        name="llm",
        title="llm (the command line tool)",
        kind=Kind.CHAT,
        setup=_llm,
        format=Format.YAML,
        file=lambda places: (
            places.moved_by("LLM_USER_PATH", places.application / "io.datasette.llm") / "extra-openai-models.yaml"
        ),
        address_at=(_LLM_ITEM, "api_base"),
        reference=Reference.STORE,
        holds_key=False,
    ),
    Client(
        name="open-webui",
        title="Open WebUI",
        kind=Kind.CHAT,
        setup=_open_webui,
        format=None,
        file=None,
        address_at=(),
        reference=Reference.VARIABLE,
        holds_key=False,
    ),
    Client(
        name="zed",
        title="Zed",
        kind=Kind.AGENT,
        setup=_zed,
        format=Format.JSONC,
        file=lambda places: places.config / "zed/settings.json",
        address_at=("language_models", "openai_compatible", ROOST, "api_url"),
        reference=Reference.FIXED_VARIABLE,
        holds_key=False,
    ),
    Client(
        name="vscode",
        title="VS Code (its own chat)",
        kind=Kind.AGENT,
        setup=_vscode,
        format=Format.JSONC,
        file=lambda places: places.application / "Code/User/chatLanguageModels.json",
        address_at=(Item(key="name", name=ROOST), "models"),
        reference=Reference.NONE,
        holds_key=True,
    ),
)
