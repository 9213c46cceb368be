"""The record of a landscape, its file, and several landscapes together."""
