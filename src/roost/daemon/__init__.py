"""The composition root: builds every room's owner, connects them, runs and ends them. It decides nothing itself.

Called by `roost up` alone; imported by nobody else.
"""

from roost.daemon.main import run

__all__ = ["run"]
