"""What the look for tool calls costs a token of a stream: `python -m benchmarks.toolcalls`.

Plain text, source code, Markdown with fences and a long call, fed a token at a time to the machine that holds back
what may be a call. No engine, no gateway: the work alone, in CPU time of this thread.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time

from roost.toolcalls.detector import Detector, detector
from roost.toolcalls.sieve import Sieve
from roost.toolcalls.values import Mode, Tools

#: At the 99th percentile; the gateway's other work for a token is about as much.
LIMIT_US = 50.0
_ROUNDS = 30
_PROSE = "The lamp in the hall is on, and nobody has touched it since noon; shall I turn it off? " * 40
_CODE = "\n".join(
    f"def f{n}(x: list[int]) -> dict[str, int]:\n    return {{'a': x[{n}], 'b': [y < {n} for y in x]}}"
    for n in range(60)
)
_MARKDOWN = f"# Title\n\n> quoted <tool_call>\n\n- item `x[0]`\n\n```python\n{_CODE}\n```\n\nDone: see [here](x).\n"
_CALL = "<tool_call>\n" + json.dumps({"name": "tool_3", "arguments": {"text": _CODE}}) + "\n</tool_call>"
_TEXTS = {"prose": _PROSE, "code": _CODE, "markdown": _MARKDOWN, "call": f"I will save it.\n{_CALL}"}


def _tools(count: int) -> Tools:
    """As many as coding agents send."""
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    return Tools.of([{"function": {"name": f"tool_{n}", "parameters": schema}} for n in range(count)])


def _tokens(text: str) -> list[str]:
    """About as models cut it: a word with the space before it, or signs."""
    return re.findall(r" ?\w+|\s+|[^\w\s]{1,2}", text)


def _measure(tokens: list[str], looks: Detector) -> list[float]:
    """Microseconds of each token."""
    spent = []
    for _ in range(_ROUNDS):
        sieve = Sieve(looks)
        for token in tokens:
            before = time.thread_time_ns()
            sieve.feed(token)
            spent.append((time.thread_time_ns() - before) / 1000)
        sieve.finish()
    return spent


def main() -> int:
    looks = detector(_tools(24), Mode.FULL, None)
    worst = 0.0
    for name, text in _TEXTS.items():
        tokens = _tokens(text)
        spent = sorted(_measure(tokens, looks))
        p99 = spent[int(len(spent) * 0.99)]
        worst = max(worst, p99)
        print(f"{name:9} {len(tokens):6} tokens   mean {statistics.fmean(spent):6.2f} us   p99 {p99:6.2f} us")
    print(f"limit: p99 <= {LIMIT_US:g} us a token: {'kept' if worst <= LIMIT_US else 'BROKEN'}")
    return 0 if worst <= LIMIT_US else 1


if __name__ == "__main__":
    sys.exit(main())
