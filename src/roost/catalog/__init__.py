"""What a model IS: its spec read from its own headers, its files and digests, and how it gets onto this disk.

Not what a name means (registry), not how it is served (engines). Called by cli, daemon and, for types, by most rooms.
"""
