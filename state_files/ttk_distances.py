"""TTK's distances between the merge trees of a training, and their embedding.

    pvpython ttk_distances.py [STATE.pvsm]

The script builds the pipeline of ttk_distances.pvsm; with an argument, it saves the state there. It
needs TTK's plugin.
"""

import sys

from paraview import simple
from tlp_paraview import ensemble_views, pipeline, ttk_views, views

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
ensemble = ensemble_views.tree_ensemble([pipeline.build(source, threshold=0.01)])
ensemble.DiagramDistance = "none"
ttk_views.show_distances(ensemble)

if sys.argv[1:]:
    pipeline.save_state(sys.argv[1])
    views.close_views()
