"""The command ``tlp``."""
