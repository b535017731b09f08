"""Ollama's protocol on the same port: its requests become ours, our answers become its lines. No request goes past
resolution, limits, queue and records of the gateway."""
