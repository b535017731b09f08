"""Written fakes, and a small real OpenAI server that stands in for an engine. Only tests and benchmarks import it."""
