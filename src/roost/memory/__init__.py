"""What a model needs in memory, what this machine can spare, and whether the one fits into the other.

Pure decisions over values; it starts no worker and stops none. Called by workers (admission) and by the offline CLI.
Readings of the machine come from host, facts of a model from catalog, what an engine would do from the engine itself.
"""
