"""The papers' experiments: networks, their trainings, their landscapes, and tables of the claims.

``tlp experiment NAME -o FOLDER`` runs one, and goes on where it stopped; ``--size quick`` takes a
few minutes. With pictures: ``pvpython -m tlp_paraview.experiment NAME -o FOLDER``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tlp_core import checks

if TYPE_CHECKING:
    from tlp_core.experiments.definition import Experiment

EXPERIMENTS = {
    "pinn": "pinn:PINN",
    "segmentation": "segmentation:SEGMENTATION",
    "grokking": "transformers:GROKKING",
    "scaling": "transformers:SCALING",
    "resnet": "resnet:RESNET",
}
"""Names, and where in this package the experiment is."""


def named_experiment(name: str) -> Experiment:
    """Return an experiment by its name.

    Raises:
        ValueError: for an unknown name.
    """
    checks.choice(name, EXPERIMENTS, name="experiment")
    module, _, attribute = EXPERIMENTS[name].partition(":")
    found: Experiment = getattr(import_module(f"tlp_core.experiments.{module}"), attribute)
    return found
