"""roost: local models behind one honest endpoint."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("roost")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
