"""What the user set: one frozen, validated value, where each part came from, and where files live.

Not the registry (names are its own room). Everybody may import the value types; only daemon and cli load files.
"""
