"""Where a resolved request runs and why: pure functions over values, no I/O. Called by gateway."""
