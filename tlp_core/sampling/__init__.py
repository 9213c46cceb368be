"""Stage 2: the loss at points in the span of the directions."""
