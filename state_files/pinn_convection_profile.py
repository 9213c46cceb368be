"""The loss landscape of a network whose training failed, beside its topological profile.

    pvpython pinn_convection_profile.py [STATE.pvsm]

The script builds the pipeline of pinn_convection_profile.pvsm; with an argument, it saves the state
there.
"""

import sys

from paraview import simple
from tlp_paraview import pipeline, views

pipeline.load_plugin()
source = simple.TLPLossLandscape(
    registrationName="PINN convection",
    Problem="pinn-convection",
    Arguments="beta=30, seed=0",
    Checkpoint="pinn_convection_beta30.pt",
    NumberOfDirections=3,
    Resolution=21,
    Distance=0.25,
)
views.show_landscape(pipeline.build(source))

if sys.argv[1:]:
    pipeline.save_state(sys.argv[1])
    views.close_views()
