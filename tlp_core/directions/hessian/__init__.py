"""Stage 1 with the Hessian: its top eigenvectors, and its trace.

:mod:`~tlp_core.directions.hessian.operator` makes every product of the Hessian with a vector;
:mod:`~tlp_core.directions.hessian.power_iteration` and
:mod:`~tlp_core.directions.hessian.lanczos` find a span of eigenvectors with it;
:mod:`~tlp_core.directions.hessian.eigenvectors` turns the span into directions with residuals.
"""
