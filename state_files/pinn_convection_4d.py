"""The network of pinn_convection_profile in four directions: a slice beside the profile.

    pvpython pinn_convection_4d.py [STATE.pvsm]

The script builds the pipeline of pinn_convection_4d.pvsm; with an argument, it saves the state
there.
Change Position of the filter Slice to move the slice along the fourth direction.
"""

import sys

from paraview import simple
from tlp_paraview import pipeline, views

pipeline.load_plugin()
source = simple.TLPLossLandscape(
    registrationName="PINN convection, 4D",
    Problem="pinn-convection",
    Arguments="beta=30, seed=0",
    Checkpoint="pinn_convection_beta30.pt",
    NumberOfDirections=4,
    DirectionMethod="lanczos",
    Resolution=11,
    Distance=0.25,
)
built = pipeline.build(source)
built.profile.Width, built.profile.LogarithmicLoss = "n-th root", 1
views.show_landscape(built)
simple.FindSource("Slice").Position = [0.0]

if sys.argv[1:]:
    pipeline.save_state(sys.argv[1])
    views.close_views()
