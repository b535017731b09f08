"""Running engines: lifecycle, supervision, proof of weights, who stays resident, logs of each worker.

The only room that starts or stops a process of an engine. Called by gateway (through `types`) and daemon.
"""
