"""The command ``tlp``: samples and analyses landscapes without ParaView.

Each module holds the functions and options of one group of commands. Results go to files; standard
output has one machine-readable line, JSON with ``--json``; messages and progress go to standard
error. The exit code is 0 only on success, 3 if sampling stopped before it was complete, 2 for wrong
usage, and 1 otherwise.
"""
