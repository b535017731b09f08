"""How an engine is started, asked and proven: one file an engine, all behind `types.Engine`.

No process is started here (workers does) and no decision is taken. Called by workers, cli and daemon.
"""
