"""Small multiples: profiles of networks for three values of β and three seeds.

    pvpython small_multiples.py [STATE.pvsm]

The script builds the pipelines of small_multiples.pvsm; with an argument, it saves the state there.
"""

import sys

from tlp_paraview import multiples, pipeline, views
from tlp_paraview.files import find_file

from tlp_core.landscape.table import arrange, find_runs

pipeline.load_plugin()
runs = find_runs([find_file("pinn_sweep.csv")])
table = arrange(runs, rows="beta", columns="seed")
multiples.show_multiples(table, logarithmic=True)

if sys.argv[1:]:
    pipeline.save_state(sys.argv[1])
    views.close_views()
