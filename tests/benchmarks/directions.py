"""Benchmark of directions: Hessian-vector products of power iteration and Lanczos, in one run.

    build/venv/bin/python tests/benchmarks/directions.py

Both run to equal residuals. The network has close eigenvalues: the untrained PINN, whose second to
fourth eigenvalues differ by less than a fifth.
"""

import warnings

import numpy as np

from tlp_core import hessian_directions, load_problem


def report(problem, method, **options):
    found = hessian_directions(problem, 4, method=method, **options)
    residual = (found.residuals / np.abs(found.eigenvalues)).max()
    products = found.provenance["hessian_vector_products"]
    values = " ".join(f"{value:.4g}" for value in found.eigenvalues)
    print(f"{method:>9} {options['tolerance']:7.0e} {products:9} {residual:9.1e}   {values}")


def main():
    warnings.simplefilter("ignore")
    problem = load_problem("pinn-convection", arguments={"beta": 1, "seed": 1})
    print("   method tolerance products  residual   eigenvalues")
    for tolerance in (1e-4, 1e-6, 1e-8):
        report(problem, "pyhessian", tolerance=tolerance, max_iterations=2000)
    for tolerance in (1e-1, 1e-2, 1e-4):
        report(problem, "lanczos", tolerance=tolerance)


main()
