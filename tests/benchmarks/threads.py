"""Benchmark of threads: time of one sample of the PINN on one thread and on all threads.

    build/venv/bin/python tests/benchmarks/threads.py
    build/bin/pvpython tests/benchmarks/threads.py

It shows why small models run on one thread (``tlp_core.model_state.SMALL``).
"""

import os
import time

from tlp_core.model_state import use_threads
from tlp_core.problem import mean_loss
from tlp_core.problems.pinn_convection import make_problem


def milliseconds(problem, threads, repeats=300):
    with use_threads(threads):
        for _ in range(30):
            mean_loss(problem)
        start = time.perf_counter()
        for _ in range(repeats):
            mean_loss(problem)
        return (time.perf_counter() - start) / repeats * 1000


def main():
    problem = make_problem(collocation=100)
    problem.model.requires_grad_(False)
    print(f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'not set')}")
    for threads in (1, os.cpu_count()):
        print(f"{threads} threads: {milliseconds(problem, threads):.2f} ms a sample")


main()
