"""Two wells, an analytic landscape that was sampled before, so that torch is not needed.

    pvpython two_wells.py [STATE.pvsm]

The script builds the pipeline of two_wells.pvsm; with an argument, it saves the state there.
"""

import sys

from paraview import simple
from tlp_paraview import pipeline, views

pipeline.load_plugin()
reader = simple.TLPLandscapeReader(registrationName="Two wells", FileName=["two_wells.zarr"])
views.show_landscape(pipeline.build(reader))

if sys.argv[1:]:
    pipeline.save_state(sys.argv[1])
    views.close_views()
