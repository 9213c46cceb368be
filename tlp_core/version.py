"""The version of the suite; a module of its own, so that any stage can write it down."""

__version__ = "0.1.0"
