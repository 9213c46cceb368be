"""The version of the suite; a module of its own, so that any stage can use it."""

__version__ = "0.1.0"


def major_minor(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version, such as (5, 11) of ``5.11.0``."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
