"""Profiles drawn by matplotlib."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.collections import PathCollection, PolyCollection
from PIL import Image

from tlp_core import grid_graph, landscape_profile, merge_tree
from tlp_core.array_names import CriticalType
from tlp_core.profile import ORANGE, RED
from tlp_core.profile.plot import _thin_line, blues


def noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(1.0, 2.0, shape)


def profile_of(values):
    return landscape_profile(merge_tree(values.ravel(), grid_graph(values.shape)))


def collections(axes, kind):
    return [each for each in axes.collections if isinstance(each, kind)]


def labels_of(axes):
    """The labels of the vertical axis that are inside its range."""
    axes.figure.canvas.draw()
    low, high = axes.get_ylim()
    ticks = zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
    return [text.get_text() for text, place in ticks if low <= place <= high]


def area(polygon):
    x, y = polygon.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def pixels(figure):
    file = io.BytesIO()
    figure.savefig(file, dpi=100)
    return np.asarray(Image.open(file).convert("RGB"), dtype=np.int64)


def count_near(image, color):
    return int((np.abs(image - np.round(255 * np.array(color))).max(axis=-1) < 12).sum())


def test_polygons_are_the_basins_of_the_profile():
    profile = profile_of(noise((15, 15)))
    axes = profile.plot()
    (drawn,) = collections(axes, PolyCollection)
    by_width = np.argsort(-profile.basins.top_width, kind="stable")
    assert np.array_equal(drawn.get_array(), profile.basins.average_loss[by_width])
    basins = profile.basins
    for path, basin in zip(drawn.get_paths(), by_width, strict=True):
        own = slice(basins.step_start[basin], basins.step_start[basin + 1])
        height, width = basins.step_height[own], basins.step_width[own]
        true = (np.diff(height) * (width[1:] + width[:-1]) / 2).sum()
        corners = path.vertices[:-1]
        assert area(corners) == pytest.approx(true, abs=1e-9)
        assert corners[:, 1].min() == height[0]
        assert corners[:, 1].max() == height[-1]
        assert np.mean([corners[:, 0].min(), corners[:, 0].max()]) == pytest.approx(
            basins.center[basin]
        )
    assert axes.get_xlim() == (0.0, 225.0)
    assert axes.get_xlabel() == "number of samples"


def test_discs_are_the_critical_points():
    profile = profile_of(noise((9, 9)))
    axes = profile.plot()
    discs = {each.get_label(): each for each in collections(axes, PathCollection)}
    critical = profile.critical_points
    is_minimum = critical.type == CriticalType.MINIMUM
    for name, chosen, color in (("minimum", is_minimum, RED), ("saddle", ~is_minimum, ORANGE)):
        places = np.stack([critical.x, critical.height], axis=1)[chosen]
        drawn = discs[name].get_offsets()
        assert sorted(map(tuple, drawn.tolist())) == sorted(map(tuple, places.tolist()))
        assert tuple(discs[name].get_facecolor()[0][:3]) == color
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(texts) == ["minimum", "saddle"]


def test_the_picture_has_the_colours_of_the_suite():
    values = np.add.outer((np.linspace(-1, 1, 41) ** 2 - 0.3) ** 2, np.linspace(-1, 1, 41) ** 2)
    image = pixels(profile_of(values).plot().figure)
    for color in (RED, ORANGE, blues()(0.0)[:3], blues()(1.0)[:3]):
        assert count_near(image, color) > 20
    assert count_near(image, (1.0, 1.0, 1.0)) > image[..., 0].size / 4


def test_darker_is_lower_on_both_scales():
    profile = profile_of(noise((15, 15)))
    for logarithmic in (False, True):
        (drawn,) = collections(profile.plot(logarithmic=logarithmic), PolyCollection)
        drawn.update_scalarmappable()
        lightness = drawn.get_facecolor()[:, :3].sum(axis=1)
        by_loss = np.argsort(drawn.get_array())
        assert (np.diff(lightness[by_loss]) >= -1e-9).all()


def test_shared_ranges_are_those_of_axis_and_colours():
    profile = profile_of(noise((9, 9)))
    axes = profile.plot(logarithmic=True, loss_range=(0.5, 50.0), color_range=(0.1, 10.0))
    (drawn,) = collections(axes, PolyCollection)
    assert drawn.get_clim() == (0.1, 10.0)
    low, high = axes.get_ylim()
    assert low < 0.5 < 0.6 > low
    assert 50.0 < high < 60.0
    assert axes.get_yscale() == "log"


def test_a_logarithmic_axis_needs_positive_losses():
    with pytest.raises(ValueError, match="needs losses above 0, got -"):
        profile_of(noise((5, 5)) - 3.0).plot(logarithmic=True)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_constant_landscape_has_no_invented_range(logarithmic):
    axes = profile_of(np.full((5, 5), 2.0)).plot(logarithmic=logarithmic)
    axes.figure.canvas.draw()
    (bar,) = [each for each in axes.figure.axes if each is not axes]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["2"]


def test_a_short_logarithmic_axis_has_labels():
    axes = profile_of(noise((9, 9)) ** 2).plot(logarithmic=True)
    assert axes.get_yscale() == "log"
    assert labels_of(axes) == ["1", "2"]


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize(("middle", "half"), [(2.3026, 1e-4), (1e6, 1e-3), (1e-6, 1e-12)])
def test_labels_of_a_narrow_range_differ(middle, half, logarithmic):
    axes = profile_of(middle + half * (noise((9, 9)) - 1.5)).plot(logarithmic=logarithmic)
    for panel in axes.figure.axes:
        labels = labels_of(panel)
        assert len(labels) >= 3
        assert len(set(labels)) == len(labels)


def test_fractions_compare_one_and_more_directions():
    tree = merge_tree(noise((25,)), grid_graph((25,), rule="axis"))
    samples, fractions = landscape_profile(tree), landscape_profile(tree, relative=True)
    assert (samples.total_width, fractions.total_width) == (25.0, 1.0)
    assert fractions.basins.step_width * 25 == pytest.approx(samples.basins.step_width)
    assert fractions.outline[:, 0] * 25 == pytest.approx(samples.outline[:, 0])


def test_thinning_keeps_the_extremes_of_each_column():
    rng = np.random.default_rng(1)
    line = np.stack([np.sort(rng.uniform(0, 10, 5000)), rng.normal(size=5000)], axis=1)
    thin = _thin_line(line, 0.5)
    assert len(thin) <= 4 * 20
    assert (np.diff(thin[:, 0]) >= 0).all()
    for column in range(20):
        whole = line[np.floor(line[:, 0] / 0.5) == column, 1]
        kept = thin[np.floor(thin[:, 0] / 0.5) == column, 1]
        assert (kept.min(), kept.max()) == (whole.min(), whole.max())
        assert (kept[0], kept[-1]) == (whole[0], whole[-1])


def test_many_basins_make_a_small_file_that_shows_them_all():
    profile = profile_of(noise((17, 17, 17, 17)))
    assert len(profile.basins) > 4000
    axes = profile.plot()
    images = [each for each in axes.collections if each.get_rasterized()]
    assert images
    drawn = collections(axes, PolyCollection)
    assert sum(len(each.get_paths()) for each in drawn) == len(profile.basins)
    file = io.BytesIO()
    axes.figure.savefig(file, format="svg")
    assert len(file.getvalue()) < 1_500_000


def test_notebooks_show_picture_and_facts():
    html = profile_of(noise((9, 9)))._repr_html_()
    source, facts = re.fullmatch(
        r'<img src="data:image/png;base64,(.*)" alt=".*"><p>(.*)</p>', html
    ).groups()
    assert Image.open(io.BytesIO(base64.b64decode(source))).size == (640, 480)
    assert re.match(r"\d+ minima, \d+ basins, 81 samples, losses from 1\.\d+ to \d", facts)
