"""What follows from a merge tree: descriptors, distances, change points."""
