"""Macro: builds graph, merge tree, profile and views behind the selected source or reader."""

from paraview.simple import GetActiveSource
from tlp_paraview import pipeline, views

source = GetActiveSource()
if source is None:
    raise RuntimeError("select a loss landscape in the Pipeline Browser first")
built = pipeline.build(source)
views.show_landscape(built)
print(f"merge tree: {built.tree_filter}")
