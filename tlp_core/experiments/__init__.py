"""Experiments of the papers: networks, their training and landscapes, and tests of the claims.

``tlp experiment NAME -o FOLDER`` runs an experiment or resumes it. With ``--size quick`` it takes a
few minutes. ``pvpython -m tlp_paraview.experiment NAME -o FOLDER`` also draws pictures.
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
    "grokking": "grokking:GROKKING",
    "scaling": "scaling:SCALING",
    "resnet": "resnet:RESNET",
}
"""Names of the experiments, and their module and variable in this package."""


def named_experiment(name: str) -> Experiment:
    """Return the experiment of a given name.

    Args:
        name: a key of ``EXPERIMENTS``.

    Raises:
        ValueError: if the name is unknown.
    """
    checks.choice(name, EXPERIMENTS, name="experiment")
    module, _, attribute = EXPERIMENTS[name].partition(":")
    found: Experiment = getattr(import_module(f"tlp_core.experiments.{module}"), attribute)
    return found
