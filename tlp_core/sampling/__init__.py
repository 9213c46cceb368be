"""Stage 2: the loss at points in the span of the directions.

A sample at coordinates α is the loss at θ(α) = θ* + Σ α_i d_i. :mod:`~tlp_core.sampling.grid` and
:mod:`~tlp_core.sampling.scattered` choose the points, :mod:`~tlp_core.sampling.engine_choice`
measures how this machine evaluates this loss fastest, :mod:`~tlp_core.sampling.engines` evaluates
it, :mod:`~tlp_core.sampling.partition` divides the work among processes, and
:mod:`~tlp_core.sampling.chunks` brings them together.
"""
