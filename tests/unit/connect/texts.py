"""Settings of clients as their users have them: comments, other programs' keys, odd layouts."""

CLAUDE = """{
  "$schema": "https://json.schemastore.org/claude-code-settings.json",
  "permissions": {
    "allow": ["Bash(npm run lint)", "Read(~/.zshrc)"],
    "deny": []
  },
  "env": {
    "BASH_DEFAULT_TIMEOUT_MS": "120000",
    "ANTHROPIC_MODEL": "opus"
  },
  "hooks": {}
}
"""

CODEX = """# Codex, as I like it
model = "gpt-5-codex"  # the big one
approval_policy = "on-request"
notify = ["python3",
  "notify.py",  # says it aloud
]

[sandbox_workspace_write]
network_access = false

[model_providers.azure]
name = "Azure"
base_url = 'https://me.openai.azure.com/openai'
query_params = { api-version = "2025-04-01" }

[mcp_servers."my docs"]
command = "npx"
args = ["-y", "mcp[docs]"]
env = { "KEY" = "#not a comment" }

[[hooks]]
name = "one"
[[hooks]]
name = "two"
"""

OPENCODE = """{
\t"$schema": "https://opencode.ai/config.json",
\t// my theme
\t"theme": "tokyonight",
\t"provider": {
\t\t"anthropic": { "options": { "timeout": 600000 } }, // slow line here
\t},
\t/* keys */ "keybinds": { "leader": "ctrl+x" }
}
"""

CONTINUE = """# my models
name: Mine
version: 0.0.1
schema: v1

models:
  # for everything
  - name: Big
    provider: anthropic
    model: claude-sonnet-4
    apiKey: ${{ secrets.ANTHROPIC_API_KEY }}
    roles:
      - chat
      - edit

rules:
  - Be brief.
  - |
    Never
      indent oddly.
context:
  - provider: code
"""

LLM = """- model_id: orca   # the small one
  model_name: orca-mini
  api_base: "http://localhost:8080"
- model_id: other
  model_name: o
  api_base: http://10.0.0.2:8000/v1
  headers: {X-Team: a}
"""

ZED = """// Zed settings
//
// For information on how to configure Zed, see the documentation.
{
  "agent": {
    "default_model": { "provider": "zed.dev", "model": "claude-sonnet-4" },
    "button": true,
  },
  "telemetry": { "metrics": false },
  "language_models": {
    "openai_compatible": {
      "Together AI": { "api_url": "https://api.together.xyz/v1", "available_models": [] },
    },
  },
  "ui_font_size": 16, // larger
}
"""

VSCODE = """[
\t{
\t\t"name": "Groq",
\t\t"vendor": "groq",
\t\t"apiKey": "${input:chat.lm.secret.1}"
\t}
]"""

BY_CLIENT = {
    "claude": CLAUDE,
    "codex": CODEX,
    "opencode": OPENCODE,
    "continue": CONTINUE,
    "llm": LLM,
    "zed": ZED,
    "vscode": VSCODE,
}

BROKEN = {
    "claude": ('{\n  "env": {\n    "A": 1, // no\n  "B": 2}\n}\n', 3),
    "codex": ('model = "a"\n[table\n', 2),
    "opencode": ('{\n  "theme": "x"\n  "other": 1\n}\n', 3),
    "continue": ("models:\n  - name: a\n bad\n", 3),
    "llm": ('- model_id: "a\n', 2),
    "zed": ("{\n  // a\n  agent: 1\n}\n", 3),
    "vscode": ("[\n  {]\n", 2),
}
