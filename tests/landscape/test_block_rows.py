"""Reading the table of blocks, and its heat map."""

import numpy as np
import pytest

from tlp_core.landscape.block_rows import read_block_rows

TABLE = """step,group,loss,alpha,landscape,key
200,embedding,3.0,,e2.zarr,a
100,embedding,4.0,2.5,e1.zarr,b
100,block 0,4.5,nan,b1.zarr,c
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "blocks.csv"
    path.write_text(TABLE)
    return path


def test_columns_are_matrices_of_groups_and_steps(table):
    rows = read_block_rows(table)
    assert rows.groups == ("embedding", "block 0")
    assert rows.steps.tolist() == [100, 200]
    assert list(rows.columns) == ["loss", "alpha"]
    np.testing.assert_array_equal(rows.columns["loss"], [[4, 3], [4.5, np.nan]])
    np.testing.assert_array_equal(rows.columns["alpha"], [[2.5, np.nan], [np.nan, np.nan]])


def test_a_row_that_is_being_written_does_not_count(table):
    table.write_text(TABLE + "200,block 0,7.")
    np.testing.assert_array_equal(read_block_rows(table).columns["loss"][1], [4.5, np.nan])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "lacks one of its columns"),
        ("", "lacks one of its columns"),
        (TABLE.splitlines(keepends=True)[0], "must have rows with a step each, got 0"),
        (TABLE.replace("200", "first"), "must have rows with a step each"),
        (b"\xff\xfe", "is damaged"),
    ],
)
def test_other_files_are_reported(table, content, message):
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_block_rows(table)
    with pytest.raises(FileNotFoundError, match="a table of blocks must be a file"):
        read_block_rows(table.parent / "none.csv")


def test_the_heat_map_has_a_cell_for_each_group_and_step(table):
    pytest.importorskip("vtkmodules")
    from vtkmodules.util.numpy_support import vtk_to_numpy

    from tlp_core.vtk_bridge.heat_map import WIDTH, heat_map, heat_map_labels, step_frame

    rows = read_block_rows(table)
    cells = heat_map(rows)
    assert cells.GetNumberOfCells() == 4
    arrays = {n: vtk_to_numpy(cells.GetCellData().GetArray(n)) for n in ("Step", "Group", "loss")}
    assert arrays["Step"].tolist() == [100, 200, 100, 200]
    assert arrays["Group"].tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(arrays["loss"], [4, 3, 4.5, np.nan])
    assert cells.GetCell(1).GetBounds() == (WIDTH, 2 * WIDTH, 1, 2, 0, 0)  # above block 0
    left, right, bottom, top, *_ = heat_map_labels(rows).GetBounds()
    assert left < -1
    assert right < 2 * WIDTH
    assert bottom < 0 < top < 2
    for time, column in ((None, 0), (50, 0), (100, 0), (150, 0), (200, 1), (999, 1)):
        bounds = step_frame(rows, time).GetBounds()
        assert bounds[:4] == (WIDTH * column, WIDTH * (column + 1), 0, 2)
