"""What llama-swap users' scripts call: running models, unloading, logs, and further routes that `model` dispatches."""
