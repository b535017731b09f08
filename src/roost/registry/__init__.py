"""What a NAME means: the registry file, watched and swapped whole, and the pure function that resolves a name.

Not what a model is (catalog). Called by gateway, routing, cli and daemon.
"""
