"""How each family writes calls, and texts that are none."""

import json
import re

from roost.toolcalls.detector import detector
from roost.toolcalls.values import Mode, Tools


def function(name, properties, required=()):
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": "…", "parameters": schema}}


LISTED = [
    function("set_lamp", {"room": {"type": "string"}, "level": {"type": "integer"}}, ["room"]),
    function("save_file", {"path": {"type": "string"}, "content": {"type": "string"}}, ["path", "content"]),
    function("get_time", {}),
    function(
        "plan-trip",
        {
            "stops": {"type": "array", "items": {"type": "object", "properties": {"city": {"type": "string"}}}},
            "fast": {"type": "boolean"},
            "budget": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        },
        ["stops"],
    ),
]
TOOLS = Tools.of(LISTED)
FULL = detector(TOOLS, Mode.FULL, None)

LAMP = ("set_lamp", {"room": "hall"})
DIM = ("set_lamp", {"room": "höhle 🦇", "level": 3})
SAVE = ("save_file", {"path": "a.py", "content": "if a < b and c > d:\n    print(\"}]{[\", 'x')\n# </think> & co\n"})
TIME = ("get_time", {})
TRIP = ("plan-trip", {"stops": [{"city": "Köln"}, {"city": "Rom"}], "fast": True, "budget": None})
CALLS = (LAMP, DIM, SAVE, TIME, TRIP)


def js(value):
    return json.dumps(value, ensure_ascii=False)


def named(name, arguments, key="arguments"):
    return js({"name": name, key: arguments})


def plain(value):
    return value if isinstance(value, str) else js(value)


def hermes(calls):
    return "\n".join(f"<tool_call>\n{named(*call)}\n</tool_call>" for call in calls)


def hermes_list(calls):
    return f"<tool_call>{js([{'name': name, 'arguments': arguments} for name, arguments in calls])}</tool_call>"


def qwen_coder(calls):
    def one(name, arguments):
        inside = "".join(f"<parameter={key}>\n{plain(value)}\n</parameter>\n" for key, value in arguments.items())
        return f"<tool_call>\n<function={name}>\n{inside}</function>\n</tool_call>"

    return "\n".join(one(*call) for call in calls)


def qwen_coder_without_opener(calls):
    return qwen_coder(calls).replace("<tool_call>\n", "")


def seed(calls):
    return qwen_coder(calls).replace("tool_call>", "seed:tool_call>")


def llama(calls):
    return "<|python_tag|>" + "; ".join(named(*call, key="parameters") for call in calls) + "<|eom_id|>"


def llama_bare(calls):
    return "; ".join(named(*call, key="parameters") for call in calls)


def pythonic(calls):
    written = (f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})" for name, given in calls)
    return f"[{', '.join(written)}]"


def lfm(calls):
    return f"<|tool_call_start|>{pythonic(calls)}<|tool_call_end|>"


def mistral(calls):
    return "[TOOL_CALLS] " + js([{"name": name, "arguments": given} for name, given in calls])


def mistral_11(calls):
    return "".join(f"[TOOL_CALLS]{name}[ARGS]{js(given)}" for name, given in calls) + "</s>"


def mistral_13(calls):
    return "".join(f"[TOOL_CALLS]{name}[CALL_ID]abcd12345[ARGS]{js(given)}" for name, given in calls)


def mistral_swallowed(calls):
    return mistral_11(calls).removeprefix("[TOOL_CALLS]")


def deepseek_v3(calls):
    inside = "\n".join(
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{js(given)}\n```<｜tool▁call▁end｜>"
        for name, given in calls
    )
    return f"<｜tool▁calls▁begin｜>{inside}<｜tool▁calls▁end｜><｜end▁of▁sentence｜>"


def deepseek_v31(calls):
    inside = "".join(
        f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{js(given)}<｜tool▁call▁end｜>" for name, given in calls
    )
    return f"<｜tool▁calls▁begin｜>{inside}<｜tool▁calls▁end｜>"


def dsml(calls):
    def parameter(key, value):
        flag = "true" if isinstance(value, str) else "false"
        return f'<｜DSML｜parameter name="{key}" string="{flag}">{plain(value)}</｜DSML｜parameter>'

    def one(name, given):
        inside = "\n".join(parameter(key, value) for key, value in given.items())
        return f'<｜DSML｜invoke name="{name}">\n{inside}\n</｜DSML｜invoke>'

    return f"<｜DSML｜function_calls>\n{chr(10).join(one(*call) for call in calls)}\n</｜DSML｜function_calls>"


def dsml_v4(calls):
    return dsml(calls).replace("function_calls", "tool_calls")


def kimi(calls):
    inside = "".join(
        f"<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>{js(given)}<|tool_call_end|>"
        for index, (name, given) in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{inside}<|tool_calls_section_end|>"


def glm(calls):
    def one(name, given):
        inside = "".join(
            f"<arg_key>{key}</arg_key>\n<arg_value>{plain(value)}</arg_value>\n" for key, value in given.items()
        )
        return f"<tool_call>{name}\n{inside}</tool_call>"

    return "\n".join(one(*call) for call in calls)


def glm_47(calls):
    return "".join(one.replace("\n<arg", "<arg").replace("\n</tool", "</tool") for one in map(glm, zip(calls)))


def harmony(calls):
    return "<|start|>assistant".join(
        f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{js(given)}<|call|>"
        for name, given in calls
    )


def harmony_recipient_first(calls):
    return "".join(
        f"<|start|>assistant to=functions.{name}<|channel|>commentary json<|message|>{js(given)}<|call|>"
        for name, given in calls
    )


def harmony_stripped(calls):
    return "assistant".join(f"commentary to=functions.{name} json{js(given)}" for name, given in calls)


def minimax(calls):
    def one(name, given):
        inside = "".join(f'<parameter name="{key}">{plain(value)}</parameter>\n' for key, value in given.items())
        return f'<invoke name="{name}">\n{inside}</invoke>'

    return f"<minimax:tool_call>\n{chr(10).join(one(*call) for call in calls)}\n</minimax:tool_call>"


def minimax_m3(calls):
    return re.sub(r"<(?=/?(?:tool_call|invoke|parameter)\b)", "]<]minimax[>[<", minimax(calls).replace("minimax:", ""))


def _gemma_value(value, quote):
    match value:
        case str():
            return f"{quote}{value}{quote}"
        case dict():
            return "{" + ",".join(f"{key}:{_gemma_value(one, quote)}" for key, one in value.items()) + "}"
        case list():
            return "[" + ",".join(_gemma_value(one, quote) for one in value) + "]"
    return js(value)


def function_gemma(calls):
    return "".join(
        f"<start_function_call>call:{name}{_gemma_value(given, '<escape>')}<end_function_call>" for name, given in calls
    )


QUOTE = '<|"|>'


def gemma(calls):
    return "".join(f"<|tool_call>call:{name}{_gemma_value(given, QUOTE)}<tool_call|>" for name, given in calls)


def gemma_drifted(calls):
    return "".join(f"<|tool_call|>call:{name}({js(given)})<tool_call|>" for name, given in calls)


def granite(calls):
    return f"<|tool_call|>{js([{'name': name, 'arguments': given} for name, given in calls])}"


def functionary(calls):
    return "\n".join(f">>>{name}\n{js(given)}" for name, given in calls)


def functionary_31(calls):
    return "".join(f"<function={name}>{js(given)}</function>" for name, given in calls)


def command(calls):
    listed = [
        {"tool_call_id": str(index), "tool_name": name, "parameters": given}
        for index, (name, given) in enumerate(calls)
    ]
    return f"<|START_ACTION|>{js(listed)}<|END_ACTION|>"


def nemotron(calls):
    return f"<TOOLCALL>{js([{'name': name, 'arguments': given} for name, given in calls])}</TOOLCALL>"


def jamba(calls):
    return f"<tool_calls>{js([{'name': name, 'arguments': given} for name, given in calls])}</tool_calls>"


def fence(calls):
    return "```json\n" + "\n".join(named(*call) for call in calls) + "\n```"


def fence_list(calls):
    return "```json\n" + js([{"name": name, "arguments": given} for name, given in calls]) + "\n```"


def fences(calls):
    return "\n".join(f"```json\n{named(*call)}\n```" for call in calls)


def bare(calls):
    return "\n".join(named(*call) for call in calls)


def bare_list(calls):
    return js([{"name": name, "arguments": given} for name, given in calls])


def openai(calls):
    return js(
        {
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": name, "arguments": js(given)}}
                for name, given in calls
            ]
        }
    )


#: Written with a marker.
MARKED = (
    *(hermes, hermes_list, qwen_coder, qwen_coder_without_opener, seed, llama, lfm, mistral, mistral_11, mistral_13),
    *(deepseek_v3, deepseek_v31, dsml, dsml_v4, kimi, glm, glm_47, harmony, harmony_recipient_first),
    *(minimax, minimax_m3, function_gemma, gemma, gemma_drifted, granite, functionary, functionary_31, command),
    *(nemotron, jamba),
)
#: Markers that count only where they are the entire message.
STRIPPED = (mistral_swallowed, harmony_stripped)
#: Without any marker: only as the entire message.
SHAPED = (llama_bare, pythonic, fence, fence_list, fences, bare, bare_list, openai)
WRITERS = (*MARKED, *STRIPPED, *SHAPED)


def read(finding):
    """The calls of a finding, arguments decoded."""
    return [(call.name, json.loads(call.arguments)) for call in finding.calls]
