"""The HTTP front: parse, authenticate, resolve, relay bytes, answer errors. It decides nothing about workers.

Called by daemon alone.
"""
