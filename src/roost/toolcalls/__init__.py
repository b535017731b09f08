"""Tool calls that an engine left in the text: found, repaired without a guess, checked against the tool's schema.

Pure: text in, calls out. It knows neither HTTP nor engines; the gateway asks it when a request brings tools.
"""
