"""The merge trees of a training: the distances between all its checkpoints, and their embedding.

    pvpython tree_ensemble.py [STATE.pvsm]

The script builds the pipeline of tree_ensemble.pvsm; with an argument, it saves the state there.
"""

import sys

from paraview import simple
from tlp_paraview import ensemble_views, pipeline, views

pipeline.load_plugin()
source = simple.TLPLossLandscape(
    registrationName="Training",
    Problem="file",
    ProblemFile="two_moons.py",
    Checkpoints=["moons_training"],
    Normalization="layer",
    Distance=2.0,
    Resolution=21,
)
ensemble_views.show_ensemble(ensemble_views.tree_ensemble([pipeline.build(source)]))

if sys.argv[1:]:
    pipeline.save_state(sys.argv[1])
    views.close_views()
