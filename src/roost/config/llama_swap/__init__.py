"""llama-swap's config.yaml as roost's settings.

Pure: text in, text and findings out; reading and writing files is the command's work. Nothing is left out in silence:
each key that roost has no place for becomes a warning that names it.
"""
