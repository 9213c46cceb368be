"""Stage 1: directions in parameter space.

Hessian eigenvectors (:mod:`tlp_core.directions.hessian`), random directions, the gradient, the
principal components of a training run (``trajectory``), or the span of given solutions
(``checkpoints``); :mod:`tlp_core.directions.methods` chooses among them.
"""
