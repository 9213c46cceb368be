"""Stage 1: directions in parameter space."""
