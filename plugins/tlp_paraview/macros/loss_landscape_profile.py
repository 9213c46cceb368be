"""Macro that builds graph, merge tree, profile and views behind the selected source or reader.

If there is a profile already, for example after opening a state file, it links the selections
again, fits the views to their windows, and builds those again whose source has changed.
"""

from paraview.simple import GetActiveSource
from tlp_paraview import follow, interaction, pipeline, styles, views

styles.add_color_map()
source = GetActiveSource()
if source is not None and pipeline.is_landscape(source):
    built = pipeline.build(source)
    views.show_landscape(built)
    print(f"merge tree: {built.tree_filter}")
else:
    for profile in pipeline.all_profiles():
        found = pipeline.find_pipeline(profile)
        if found is not None:
            views.update_views(pipeline.replace_crashing_tree(found))
is_growing = follow.follow()
if not interaction.attach() and not is_growing:
    raise RuntimeError(
        "a loss landscape must be selected in the Pipeline Browser, found none; "
        "select a source or reader, click Apply, and run the macro again"
    )
