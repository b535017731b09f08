"""The `roost` command: one file a command group; parse, call, print. Called by nobody."""
