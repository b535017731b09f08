"""The tools that are offered; nothing behind them runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer"}
NUMBER: dict[str, Any] = {"type": "number"}
FLAG: dict[str, Any] = {"type": "boolean"}


def one_of(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


def listed(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(items)}


def record(**members: Mapping[str, Any]) -> dict[str, Any]:
    """An object with exactly these members."""
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def tool(name: str, description: str, **parameters: Mapping[str, Any]) -> dict[str, Any]:
    """As OpenAI's API takes it; every parameter is required."""
    function = {"name": name, "description": description, "parameters": record(**parameters)}
    return {"type": "function", "function": function}


def _described(schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {**schema, "description": text}


_ALL = (
    tool(
        "set_lamp",
        "Set the brightness of the lamp in a room.",
        room=TEXT,
        brightness=_described(WHOLE, "Percent, 0 to 100."),
    ),
    tool("get_weather", "Tell the weather in a city now.", city=TEXT, unit=one_of("celsius", "fahrenheit")),
    tool("send_email", "Send an e-mail.", to=_described(TEXT, "Address."), subject=TEXT, body=TEXT),
    tool(
        "create_event",
        "Put an event into the calendar.",
        title=TEXT,
        date=_described(TEXT, "YYYY-MM-DD"),
        start=_described(TEXT, "HH:MM, 24 hours"),
        minutes=_described(WHOLE, "Duration."),
    ),
    tool("play_song", "Play a song.", title=TEXT, artist=TEXT),
    tool("set_timer", "Start a timer.", minutes=WHOLE, label=TEXT),
    tool(
        "convert_currency",
        "Convert an amount of money.",
        amount=NUMBER,
        from_currency=_described(TEXT, "Three letters, such as EUR."),
        to_currency=_described(TEXT, "Three letters, such as EUR."),
    ),
    tool("search_files", "Find files by a pattern of their names.", folder=TEXT, pattern=TEXT),
    tool("read_file", "Read a text file.", path=TEXT),
    tool("run_tests", "Run the tests of a folder.", folder=TEXT, verbose=FLAG),
    tool("translate", "Translate a text.", text=TEXT, target_language=_described(TEXT, "In English, such as French.")),
    tool("add_to_cart", "Put a product into the shopping cart.", product=TEXT, quantity=WHOLE),
    tool("book_table", "Reserve a table.", restaurant=TEXT, people=WHOLE, time=_described(TEXT, "HH:MM, 24 hours")),
    tool("get_stock_price", "Tell the price of a share.", symbol=_described(TEXT, "Ticker symbol.")),
    tool("rectangle_area", "Compute the area of a rectangle.", width=NUMBER, height=NUMBER),
    tool("list_branches", "List the branches of a repository.", repository=TEXT),
    tool("set_thermostat", "Set a room's temperature.", room=TEXT, degrees=_described(NUMBER, "Celsius.")),
    tool("lock_door", "Lock or unlock a door.", door=TEXT, locked=_described(FLAG, "true: lock it.")),
    tool("find_route", "Find a way.", start=TEXT, destination=TEXT, mode=one_of("walking", "driving", "cycling")),
    tool("delete_note", "Delete a note.", note_id=WHOLE),
)
TOOLS: dict[str, dict[str, Any]] = {one["function"]["name"]: one for one in _ALL}

WRITE_FILE = tool("write_file", "Write a text file with exactly this content.", path=TEXT, content=TEXT)

_ADDRESS = record(street=TEXT, city=TEXT, postal_code=_described(TEXT, "As text: it may begin with 0."))
_NESTED = (
    tool(
        "create_order",
        "Place an order.",
        customer=record(name=TEXT, address=_ADDRESS),
        items=listed(record(sku=TEXT, quantity=WHOLE)),
    ),
    tool("filter_rows", "Choose rows of a table.", column=TEXT, operator=one_of("eq", "lt", "gt"), value=NUMBER),
    tool("list_devices", "List every device of this home. Takes no arguments."),
    tool("set_flags", "Turn features on or off.", flags=record(dark_mode=FLAG, beta=FLAG)),
    tool("tag_photo", "Give a photo tags.", photo_id=_described(TEXT, "An id as text."), tags=listed(TEXT)),
    tool("draw_line", "Draw a line through points.", points=listed(record(x=WHOLE, y=WHOLE)), colour=TEXT),
)
NESTED: dict[str, dict[str, Any]] = {one["function"]["name"]: one for one in _NESTED}
