"""roost: local models behind one honest endpoint."""

#: Written here, not read from the installed metadata: importing what reads it takes each command tens of milliseconds.
__version__ = "0.1.0"
