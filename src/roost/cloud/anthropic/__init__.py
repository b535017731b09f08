"""Chats in OpenAI's words, asked of a provider that speaks Anthropic Messages."""
