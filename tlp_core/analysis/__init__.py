"""Analysis of merge trees: descriptors, distances and change points."""
