"""Stage 3: the neighbour graph and the merge tree of the sublevel sets."""
