"""Anthropic's Messages: translated into a chat of ours, and the answer back."""
