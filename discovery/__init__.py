"""The campaign: command line, configuration, the loop and its workers."""

from importlib.metadata import version

__version__ = version("discovery")
