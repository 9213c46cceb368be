"""Pictures of several landscapes by matplotlib."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from tlp_core import Landscape
from tlp_core.choices import PANELS
from tlp_core.cli.main import main
from tlp_core.pictures import Pictured, draw_landscapes, draw_series, write_picture
from tlp_core.topology.landscape_tree import landscape_tree


def pictured(heading, loss, points=None):
    n = loss.ndim if points is None else points.shape[1]
    evaluated = np.ones(loss.shape, dtype=bool)
    landscape = Landscape(loss, np.ones(n), evaluated, points=points)
    return Pictured(heading, landscape, landscape_tree(landscape))


def wells(n, height=1.0):
    axes = np.meshgrid(*[np.linspace(-1, 1, 9)] * n, indexing="ij")
    return height * ((axes[0] ** 2 - 0.3) ** 2 + sum(x**2 for x in axes[1:])) + 0.1


def scattered():
    points = np.random.default_rng(0).uniform(-1, 1, (60, 4))
    return pictured("scattered", (points**2).sum(axis=1) + 0.1, points)


def panels_of(figure):
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("logarithmic", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_all_panels_of_all_kinds_of_landscapes(logarithmic, tmp_path):
    hole = wells(3)
    hole[0, 0, 0] = np.nan
    landscapes = [
        pictured("one", wells(1)),
        pictured("two", wells(2)),
        pictured("three", hole),
        scattered(),
        pictured("constant", np.full((5, 5), 2.0)),
    ]
    figure = draw_landscapes([landscapes], panels=PANELS, logarithmic=logarithmic)
    write_picture(figure, tmp_path / "all.png")
    shown = panels_of(figure)
    assert len(shown) == 15
    assert [axes.get_title(loc="left") for axes in shown[:5]] == [
        each.heading for each in landscapes
    ]
    # the wells at +-0.55 and the saddle between them
    two = {each.get_label(): each for each in shown[6].collections}
    assert sorted(map(tuple, two["minimum"].get_offsets().tolist())) == [(-0.5, 0.0), (0.5, 0.0)]
    assert two["saddle"].get_offsets().tolist() == [[0.0, 0.0]]
    with Image.open(tmp_path / "all.png") as picture:
        assert picture.size[0] > 3000


def test_landscapes_share_axis_and_colours():
    figure = draw_landscapes([[pictured("low", wells(2)), pictured("high", wells(2, 10.0))]])
    low, high = panels_of(figure)
    assert low.get_ylim() == high.get_ylim()
    ranges = [axes.collections[0].get_clim() for axes in (low, high)]
    assert ranges[0] == ranges[1]
    assert len(figure.axes) == 3, "one colour bar"


def test_an_empty_cell_stays_empty():
    one = pictured("one", wells(2))
    figure = draw_landscapes([[one, None], [one, one]])
    assert [axes.axison for axes in panels_of(figure)] == [True, False, True, True]


def test_a_picture_of_noise_stays_small(tmp_path):
    noise = pictured("noise", np.random.default_rng(0).uniform(1.0, 2.0, (150, 150)))
    figure = draw_landscapes([[noise]], panels=PANELS)
    write_picture(figure, tmp_path / "noise.svg")
    assert (tmp_path / "noise.svg").stat().st_size < 4_000_000


def test_wrong_pictures_are_reported(tmp_path):
    with pytest.raises(ValueError, match="at least one panel of one landscape, got none"):
        draw_landscapes([[None]])
    with pytest.raises(ValueError, match="panels must be one of profile, landscape, diagram"):
        draw_landscapes([[pictured("x", wells(2))]], panels=["contour"])
    with pytest.raises(ValueError, match="needs losses above 0"):
        draw_landscapes([[pictured("x", wells(2) - 5.0)]], logarithmic=True)
    figure = draw_landscapes([[pictured("x", wells(2))]])
    with pytest.raises(ValueError, match=r"must end in .svg, .pdf, .png, got .*\.jpeg"):
        write_picture(figure, tmp_path / "x.jpeg")
    assert not list(tmp_path.iterdir())


def test_vector_graphics_are_well_formed_and_repeat(tmp_path):
    for ending in ("svg", "pdf"):
        files = [tmp_path / f"{i}.{ending}" for i in (0, 1)]
        for file in files:
            write_picture(draw_landscapes([[pictured("two wells", wells(2))]]), file)
        assert files[0].read_bytes() == files[1].read_bytes()
    root = ElementTree.parse(tmp_path / "0.svg").getroot()
    texts = {
        "".join(element.itertext()).strip() for element in root.iter() if "text" in element.tag
    }
    assert {"two wells", "number of samples", "average loss", "minimum", "saddle"} <= texts
    document = (tmp_path / "0.pdf").read_bytes()
    assert document.startswith(b"%PDF")
    assert document.rstrip().endswith(b"%%EOF")


def test_series_are_drawn_over_the_steps_of_a_table(tmp_path, capsys):
    rows = [f"{10 * i},{1.0 + 9.0 * (i >= 20) + 0.1 * (i % 3)},{i}" for i in range(40)]
    table = tmp_path / "descriptors.csv"
    table.write_text("\n".join(["step,number_of_minima,note", *rows]) + "\n")
    figure = draw_series(
        [0, 10, 20], {"loss": [3.0, np.nan, 1.0]}, {"loss": [10]}, logarithmic=True
    )
    (axes,) = figure.axes
    assert axes.lines[0].get_xdata().tolist() == [5.0, 10.0, 20.0]
    assert axes.lines[1].get_xdata() == [10, 10]
    picture = tmp_path / "series.svg"
    command = ["plot", str(table), "-o", str(picture), "--series"]
    assert main([*command, "number_of_minima", "note"]) == 0
    text = picture.read_text()
    assert "number of minima" in text
    assert text.count("stroke-dasharray") == 1  # the change of the first; the second is a slope
    assert main([*command, "depth"]) == 1
    assert "series must be one of number_of_minima, note, got 'depth'" in capsys.readouterr().err
    assert main(["plot", str(tmp_path), "-o", str(picture), "--series", "note"]) == 1
    assert "--series needs one .csv table" in capsys.readouterr().err
