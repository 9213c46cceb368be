"""Macro that builds graph, merge tree, profile and views behind the selected source or reader.

If there is a profile already, for example after opening a state file, it links the selections
again, fits the views to their windows, and builds those again whose source has changed. If the
views of the selected source were closed, they are shown again.
"""

from paraview.simple import GetActiveSource
from tlp_paraview import follow, interaction, pipeline, styles, trace, views

source = GetActiveSource()
is_new = source is not None and pipeline.is_landscape(source)
with trace.hidden():
    styles.add_color_map()
    if is_new:
        built = pipeline.build(source)
        layout = views.show_landscape(built)
        print(f"merge tree: {built.tree_filter}")
    else:
        views.update_all_views()
        is_shown_again = source is not None and views.show_again(source) is not None
    is_growing = follow.follow()
    if not interaction.attach() and not is_growing:
        raise RuntimeError(
            "a loss landscape must be selected in the Pipeline Browser, found none; "
            "select a source or reader, click Apply, and run the macro again"
        )
if is_new:
    trace.record_landscape(built, layout)
else:
    trace.record_update(source if is_shown_again else None)
