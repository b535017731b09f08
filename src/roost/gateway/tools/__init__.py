"""Behind chat completions: calls that the engine left in the text, `tool_choice`, and `response_format`."""
