"""Providers elsewhere: the way to them, what they cost, what may not reach them. It decides nothing of where requests
go. Called by gateway and daemon."""
