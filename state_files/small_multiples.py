"""Small multiples: profiles of networks for three speeds of the flow and three seeds.

pvpython small_multiples.py [STATE.pvsm]
"""

import sys

from paraview import simple
from tlp_paraview import multiples, pipeline, views
from tlp_paraview.files import found

from tlp_core.landscape.table import arrange, find_runs

pipeline.load_plugin()
runs = find_runs([found("pinn_sweep.csv")])
table = arrange(runs, rows="beta", columns="seed")
multiples.show_multiples(table, logarithmic=True)

if sys.argv[1:]:
    simple.SaveState(sys.argv[1])
    views.close_views()
