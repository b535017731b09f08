"""The battery's single questions. Each has one right answer, which the question spells out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from roost.verify.toolbox import NESTED, TOOLS, WRITE_FILE
from roost.verify.types import Call, Case

Wanted = tuple[str, str, dict[str, Any]]

#: Question, tool, arguments.
_SINGLE: tuple[Wanted, ...] = (
    ("Set the lamp in the kitchen to 40 percent.", "set_lamp", {"room": "kitchen", "brightness": 40}),
    ("Turn the hall lamp to full brightness, 100 percent.", "set_lamp", {"room": "hall", "brightness": 100}),
    ("What is the weather in Oslo, in celsius?", "get_weather", {"city": "Oslo", "unit": "celsius"}),
    ("Tell me the weather in Chicago in fahrenheit.", "get_weather", {"city": "Chicago", "unit": "fahrenheit"}),
    (
        'Send an e-mail to ada@example.com with subject "Lunch" and body "At noon?".',
        "send_email",
        {"to": "ada@example.com", "subject": "Lunch", "body": "At noon?"},
    ),
    (
        'E-mail bob@example.org: subject "Report", body "It is done."',
        "send_email",
        {"to": "bob@example.org", "subject": "Report", "body": "It is done."},
    ),
    (
        'Create the event "Dentist" on 2031-03-04 at 09:30 for 45 minutes.',
        "create_event",
        {"title": "Dentist", "date": "2031-03-04", "start": "09:30", "minutes": 45},
    ),
    (
        'Put "Team call" into my calendar: 2030-12-01, 14:00, 60 minutes.',
        "create_event",
        {"title": "Team call", "date": "2030-12-01", "start": "14:00", "minutes": 60},
    ),
    ("Play Yesterday by The Beatles.", "play_song", {"title": "Yesterday", "artist": "The Beatles"}),
    ("Play the song Jolene by Dolly Parton.", "play_song", {"title": "Jolene", "artist": "Dolly Parton"}),
    ('Start a timer of 12 minutes with the label "eggs".', "set_timer", {"minutes": 12, "label": "eggs"}),
    ('Set a timer labelled "tea" for 4 minutes.', "set_timer", {"minutes": 4, "label": "tea"}),
    (
        "Convert 250 EUR to JPY.",
        "convert_currency",
        {"amount": 250, "from_currency": "EUR", "to_currency": "JPY"},
    ),
    (
        "How much is 19.99 USD in GBP?",
        "convert_currency",
        {"amount": 19.99, "from_currency": "USD", "to_currency": "GBP"},
    ),
    (
        "Find the files in the folder src whose names match *.py.",
        "search_files",
        {"folder": "src", "pattern": "*.py"},
    ),
    (
        "Search the folder docs for files with the pattern *.md.",
        "search_files",
        {"folder": "docs", "pattern": "*.md"},
    ),
    ("Read the file notes/todo.txt.", "read_file", {"path": "notes/todo.txt"}),
    ("Show me what is in config.yaml: read that file.", "read_file", {"path": "config.yaml"}),
    ("Run the tests of the folder tests/unit, verbose.", "run_tests", {"folder": "tests/unit", "verbose": True}),
    (
        "Run the tests in the folder integration and do not be verbose.",
        "run_tests",
        {"folder": "integration", "verbose": False},
    ),
    (
        'Translate "good morning" into French.',
        "translate",
        {"text": "good morning", "target_language": "French"},
    ),
    ('Translate the text "thank you" to Finnish.', "translate", {"text": "thank you", "target_language": "Finnish"}),
    (
        "Add 3 notebooks to my cart: the product is called notebook.",
        "add_to_cart",
        {"product": "notebook", "quantity": 3},
    ),
    ("Put 12 of the product pencil into the cart.", "add_to_cart", {"product": "pencil", "quantity": 12}),
    (
        "Book a table for 4 people at the restaurant Luigi at 19:30.",
        "book_table",
        {"restaurant": "Luigi", "people": 4, "time": "19:30"},
    ),
    (
        "Reserve a table for 2 at the restaurant Noma at 18:00.",
        "book_table",
        {"restaurant": "Noma", "people": 2, "time": "18:00"},
    ),
    ("What does the share with the symbol AAPL cost?", "get_stock_price", {"symbol": "AAPL"}),
    ("Get the stock price of the ticker symbol IBM.", "get_stock_price", {"symbol": "IBM"}),
    ("What is the area of a rectangle of width 7 and height 3?", "rectangle_area", {"width": 7, "height": 3}),
    ("Compute the area of a rectangle: width 2.5, height 8.", "rectangle_area", {"width": 2.5, "height": 8}),
    ("List the branches of the repository roost.", "list_branches", {"repository": "roost"}),
    ("Which branches does the repository website have? List them.", "list_branches", {"repository": "website"}),
    ("Set the thermostat of the bedroom to 18.5 degrees.", "set_thermostat", {"room": "bedroom", "degrees": 18.5}),
    ("Make it 21 degrees in the office.", "set_thermostat", {"room": "office", "degrees": 21}),
    ("Lock the door called garage.", "lock_door", {"door": "garage", "locked": True}),
    ("Unlock the door called front.", "lock_door", {"door": "front", "locked": False}),
    (
        "Find a route from Bern to Basel by driving.",
        "find_route",
        {"start": "Bern", "destination": "Basel", "mode": "driving"},
    ),
    (
        "How do I get from Station to Museum walking? Find the route.",
        "find_route",
        {"start": "Station", "destination": "Museum", "mode": "walking"},
    ),
    ("Delete the note with the id 731.", "delete_note", {"note_id": 731}),
    ("Delete note 5.", "delete_note", {"note_id": 5}),
)

_CHOOSE: tuple[Wanted, ...] = (
    ("Dim the lamp in the study to 15 percent.", "set_lamp", {"room": "study", "brightness": 15}),
    ("Is it raining in Lima? Use celsius.", "get_weather", {"city": "Lima", "unit": "celsius"}),
    (
        'Write an e-mail to eve@example.net, subject "Hi", body "See you soon".',
        "send_email",
        {"to": "eve@example.net", "subject": "Hi", "body": "See you soon"},
    ),
    (
        'I have the event "Concert" on 2032-07-08 at 20:00 for 120 minutes; add it.',
        "create_event",
        {"title": "Concert", "date": "2032-07-08", "start": "20:00", "minutes": 120},
    ),
    ("I want to hear Hello by Adele.", "play_song", {"title": "Hello", "artist": "Adele"}),
    ('Remind me with a timer labelled "oven" in 25 minutes.', "set_timer", {"minutes": 25, "label": "oven"}),
    ("Change 80 CHF to EUR.", "convert_currency", {"amount": 80, "from_currency": "CHF", "to_currency": "EUR"}),
    ("Which files in the folder lib match *.so?", "search_files", {"folder": "lib", "pattern": "*.so"}),
    ("Open README.md and read it.", "read_file", {"path": "README.md"}),
    ("Run the tests of the folder core with verbose output.", "run_tests", {"folder": "core", "verbose": True}),
    ('How do you say "cat" in Spanish? Translate it.', "translate", {"text": "cat", "target_language": "Spanish"}),
    ("I need 6 of the product apple in my cart.", "add_to_cart", {"product": "apple", "quantity": 6}),
    (
        "We are 5 people and want to eat at the restaurant Sakura at 20:15; book it.",
        "book_table",
        {"restaurant": "Sakura", "people": 5, "time": "20:15"},
    ),
    ("What is the price of the share MSFT?", "get_stock_price", {"symbol": "MSFT"}),
    ("A rectangle is 12 wide and 9 high. Its area?", "rectangle_area", {"width": 12, "height": 9}),
    ("Show the branches of the repository kernel.", "list_branches", {"repository": "kernel"}),
    ("The kitchen should have 19 degrees.", "set_thermostat", {"room": "kitchen", "degrees": 19}),
    ("Please lock the door called cellar.", "lock_door", {"door": "cellar", "locked": True}),
    (
        "Find a route from Airport to Hotel cycling.",
        "find_route",
        {"start": "Airport", "destination": "Hotel", "mode": "cycling"},
    ),
    ("Remove the note with number 42.", "delete_note", {"note_id": 42}),
)

Several = tuple[str, tuple[tuple[str, dict[str, Any]], ...]]
_SAME_TOOL: tuple[Several, ...] = (
    (
        "What is the weather in Rome, in Cairo and in Quito, all in celsius?",
        tuple(("get_weather", {"city": city, "unit": "celsius"}) for city in ("Rome", "Cairo", "Quito")),
    ),
    (
        "Delete the notes 1, 2, 3 and 4.",
        tuple(("delete_note", {"note_id": number}) for number in (1, 2, 3, 4)),
    ),
    (
        "Set the lamp in the hall to 10 percent and the lamp in the attic to 90 percent.",
        (("set_lamp", {"room": "hall", "brightness": 10}), ("set_lamp", {"room": "attic", "brightness": 90})),
    ),
    (
        "Get the stock prices of the symbols AMD and NVDA.",
        (("get_stock_price", {"symbol": "AMD"}), ("get_stock_price", {"symbol": "NVDA"})),
    ),
)


def _two(first: Wanted, second: Wanted) -> Several:
    return f"Do both: {first[0]} And: {second[0]}", (first[1:], second[1:])


_PARALLEL = (*(_two(_SINGLE[2 * number], _SINGLE[39 - 2 * number]) for number in range(8)), *_SAME_TOOL)


def _order(name: str, street: str, city: str, code: str, *items: tuple[str, int]) -> dict[str, Any]:
    address = {"street": street, "city": city, "postal_code": code}
    listed = [{"sku": sku, "quantity": quantity} for sku, quantity in items]
    return {"customer": {"name": name, "address": address}, "items": listed}


_NESTED: tuple[Wanted, ...] = (
    (
        "Order 2 of sku A-1 for Ada Byron, street Main 1, city London, postal code 01234.",
        "create_order",
        _order("Ada Byron", "Main 1", "London", "01234", ("A-1", 2)),
    ),
    (
        "Place an order for Bo Li (street Oak 9, city Graz, postal code 8010): 1 of sku K-7 and 3 of sku K-8.",
        "create_order",
        _order("Bo Li", "Oak 9", "Graz", "8010", ("K-7", 1), ("K-8", 3)),
    ),
    (
        "Place an order for Max Roth, street Elm 3, city Bonn, postal code 53111: 10 of sku Z.",
        "create_order",
        _order("Max Roth", "Elm 3", "Bonn", "53111", ("Z", 10)),
    ),
    ("Choose the rows whose column age is gt 30.", "filter_rows", {"column": "age", "operator": "gt", "value": 30}),
    ("Filter rows: column price lt 9.5.", "filter_rows", {"column": "price", "operator": "lt", "value": 9.5}),
    ("Only the rows where the column id eq 7.", "filter_rows", {"column": "id", "operator": "eq", "value": 7}),
    ("Which devices are in this home? List them.", "list_devices", {}),
    ("List all devices.", "list_devices", {}),
    ("Turn dark_mode on and beta off.", "set_flags", {"flags": {"dark_mode": True, "beta": False}}),
    ("Set the flags dark_mode false and beta true.", "set_flags", {"flags": {"dark_mode": False, "beta": True}}),
    ("Turn both features on: dark_mode and beta.", "set_flags", {"flags": {"dark_mode": True, "beta": True}}),
    ("Tag the photo with the id 0042 as beach and sun.", "tag_photo", {"photo_id": "0042", "tags": ["beach", "sun"]}),
    ("Give the photo with id 77 the one tag family.", "tag_photo", {"photo_id": "77", "tags": ["family"]}),
    ("Tag photo x9 with red, green, blue.", "tag_photo", {"photo_id": "x9", "tags": ["red", "green", "blue"]}),
    (
        "Draw a red line through the points x 0, y 0 and x 5, y 8.",
        "draw_line",
        {"points": [{"x": 0, "y": 0}, {"x": 5, "y": 8}], "colour": "red"},
    ),
    (
        "Draw a blue line through (1, 2), (3, 4) and (5, 6).",
        "draw_line",
        {"points": [{"x": 1, "y": 2}, {"x": 3, "y": 4}, {"x": 5, "y": 6}], "colour": "blue"},
    ),
)

#: No call is right: small talk, questions that no tool answers, and questions about the format itself.
_NO_TOOL = (
    *("Hello!", "Thank you, that was helpful.", "Who are you?", "Tell me a joke.", "Good night."),
    *("What is the capital of Portugal?", "Why is the sky blue?", "Write a haiku about autumn."),
    *("What is 12 plus 30?", "Name three primary colours.", "Explain recursion in one sentence."),
    *("How do I stay calm before an exam?", "Give me a synonym for fast.", "Who wrote Hamlet?", "Is water wet?"),
    *("Order me a pizza.", "Fly the drone to the roof.", "Water the plants in the garden.", "Call my mother."),
    *("Feed the cat.", "Print the last invoice.", "Start the washing machine.", "Restart the server db1."),
    *("What does JSON stand for?", "What is a function call in programming?", "How does an API differ from a library?"),
    *(
        "What is the purpose of a JSON schema?",
        "What are XML tags?",
        "What is an enum?",
        "Why do arguments have types?",
    ),
)

_CODE = 'def greet(name: str) -> str:\n    """Say "hello"."""\n    return f"Hello, {name}!\\n"\n'
_LINES = "".join(f"line {number:03d}: {'ab' * (number % 20)}|\n" for number in range(130))
#: Contents that parsers of calls stumble over.
_CONTENTS = (
    _CODE,
    "if (a < b && c > d) {\n\treturn 'x';\n}\n",
    '{"name": "other_tool", "arguments": {"a": [1, 2, {"b": "}"}]}}',
    "</tool_call>\n</function>\n</parameter>\n",
    "He said: \"It's 5 o'clock\".",
    "C:\\temp\\new\\table.txt",
    "Grüße aus Köln – 日本語 – 🦉🪺",
    "  two spaces before, two after  ",
    "first\n\n\nfourth line after two empty ones",
    '```json\n{"k": 1}\n```',
    "<note>\n  <to>&amp; you</to>\n</note>",
    _LINES,
)


def _asked(text: str) -> tuple[Mapping[str, Any], ...]:
    return ({"role": "user", "content": text},)


def single() -> list[Case]:
    """Only the tool that is meant is offered."""
    return [_case("single", n, text, (TOOLS[name],), ((name, args),)) for n, (text, name, args) in enumerate(_SINGLE)]


def choose() -> list[Case]:
    """The tool that is meant among twelve."""
    names = list(TOOLS)
    cases = []
    for number, (text, name, arguments) in enumerate(_CHOOSE):
        others = [other for other in names[number:] + names[:number] if other != name][:11]
        offered = sorted([*others, name])
        cases.append(_case("choose", number, text, [TOOLS[one] for one in offered], ((name, arguments),)))
    return cases


def parallel() -> list[Case]:
    cases = []
    for number, (text, wanted) in enumerate(_PARALLEL):
        names = dict.fromkeys(name for name, _ in wanted)
        cases.append(_case("parallel", number, text, [TOOLS[name] for name in names], wanted))
    return cases


def nested() -> list[Case]:
    every = list(NESTED.values())
    return [_case("nested", n, text, every, ((name, args),)) for n, (text, name, args) in enumerate(_NESTED)]


def no_tool() -> list[Case]:
    offered = [TOOLS[name] for name in ("set_lamp", "get_weather", "create_event", "read_file", "get_stock_price")]
    return [_case("no tool", number, text, offered, (), max_tokens=200) for number, text in enumerate(_NO_TOOL)]


def fidelity() -> list[Case]:
    """Contents must arrive byte by byte; the markers around them are no part."""
    cases = []
    for number, content in enumerate(_CONTENTS):
        text = (
            f"Write the file out-{number}.txt. Its content is everything between the markers BEGIN| and |END, byte by "
            f"byte, without the markers:\nBEGIN|{content}|END"
        )
        wanted = ("write_file", {"path": f"out-{number}.txt", "content": content})
        cases.append(_case("fidelity", number, text, (WRITE_FILE,), (wanted,), exact=True, max_tokens=4096))
    return cases


def _case(
    group: str,
    number: int,
    text: str,
    tools: Iterable[Mapping[str, Any]],
    wanted: Iterable[tuple[str, dict[str, Any]]],
    *,
    exact: bool = False,
    max_tokens: int = 400,
) -> Case:
    expected = tuple(Call(name, arguments) for name, arguments in wanted)
    return Case(f"{group} {number + 1}", _asked(text), tuple(tools), expected, exact, max_tokens)
