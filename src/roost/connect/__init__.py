"""Other programs' settings: the text before → the text that points them at roost, and back again.

It is pure but for `files`; it does not know what is served: address, model and key are handed in. `cli` calls it.
"""
