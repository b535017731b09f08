"""This machine among others of yours: identity, pairing, the way to a paired machine, and how it stands. It decides
nothing of where requests go. Called by gateway and daemon."""
