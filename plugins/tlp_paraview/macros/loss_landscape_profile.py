"""Macro: builds graph, merge tree, profile and views behind the selected source or reader.

Where there is a profile already, as after opening a state file, it links selections again and fits
the views to their windows.
"""

from paraview.simple import GetActiveSource
from tlp_paraview import interaction, pipeline, styles, views

styles.add_color_map()
source = GetActiveSource()
if source is not None and pipeline.is_landscape(source):
    built = pipeline.build(source)
    views.show_landscape(built)
    print(f"merge tree: {built.tree_filter}")
if not interaction.attach():
    raise RuntimeError("select a loss landscape in the Pipeline Browser first")
