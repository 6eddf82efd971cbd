"""The `remora` command: finds its sub-commands by entry points, so that neither half imports the other."""

__version__ = "0.1.0"
