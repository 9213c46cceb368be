"""The view of a table of blocks: a heat map with its names, its colours and the current step."""

from __future__ import annotations

from typing import Any

from paraview import simple

from tlp_paraview import styles, versions

_TEXT_COLOR = (0.0, 0.0, 0.0)

_FRAME_COLOR = (0.85, 0.1, 0.1)

_MISSING = (0.85, 0.85, 0.85)


def show_block_table(table: Any, quantity: str = "eigenvalue 1", view: Any = None) -> Any:
    """Show a table of blocks as a heat map; the frame follows ParaView's time.

    Args:
        table: a source TLP Block Table.
        quantity: the column that the colours show.
        view: a render view; default: a new one.

    Returns:
        The view.

    Raises:
        ValueError: if the table has no such column.
    """
    table.UpdatePipeline()
    columns = sorted((array.Name for array in table.CellData), key=str.casefold)
    if quantity not in columns:
        raise ValueError(f"quantity must be one of {', '.join(columns)}, got {quantity!r}")
    view = view or styles.empty_view()
    view.InteractionMode = "2D"
    cells = simple.Show(simple.OutputPort(table, 0), view)
    cells.Representation = "Surface With Edges"
    cells.EdgeColor = (1.0, 1.0, 1.0)
    cells.Ambient, cells.Diffuse = 1.0, 0.0  # the colours of the bar, without light
    simple.ColorBy(cells, ("CELLS", quantity))
    cells.RescaleTransferFunctionToDataRange(False, True)
    colors = simple.GetColorTransferFunction(quantity)
    colors.ApplyPreset(versions.viridis(), True)
    colors.NanColor = _MISSING
    bar = simple.GetScalarBar(colors, view)
    bar.Title, bar.ComponentTitle = quantity, ""
    bar.TitleColor = bar.LabelColor = _TEXT_COLOR
    cells.SetScalarBarVisibility(view, True)
    labels = simple.Show(simple.OutputPort(table, 1), view)
    frame = simple.Show(simple.OutputPort(table, 2), view)
    for shown, color in ((labels, _TEXT_COLOR), (frame, _FRAME_COLOR)):
        versions.clear_colors(shown)
        shown.AmbientColor = shown.DiffuseColor = color
        shown.Ambient, shown.Diffuse = 1.0, 0.0
    frame.LineWidth = 4.0
    versions.move(frame, [0.0, 0.0, 0.01])  # in front of the cells
    simple.ResetCamera(view)
    return view
