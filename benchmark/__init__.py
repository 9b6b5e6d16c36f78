"""The harness: what is run, on what, how it is measured."""

__version__ = "0.1.0"
