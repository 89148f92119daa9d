"""The agent that runs on a node and watches the devices wired to it."""

__version__ = "0.1.0"
