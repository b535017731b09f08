"""OpenAI's Responses: translated into a chat of ours, and the answer back. Nothing is stored."""
