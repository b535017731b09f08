"""This machine: processes and their identity, sockets and their owners, memory, power. OS code lives here.

Facts only, no decisions. Called by most rooms.
"""
