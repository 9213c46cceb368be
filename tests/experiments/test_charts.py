"""Charts of rows: what tells networks apart, and what axes say."""

import itertools

import pytest

from tlp_core.experiments import charts

pytest.importorskip("matplotlib")

ROWS = [
    {"beta": beta, "seed": seed, "error": beta * 0.01 * (seed + 1), "minima": 1}
    for beta in (1, 10)
    for seed in (0, 1, 2)
]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Return a function that draws points, and returns their axes."""
    kept = []
    save = charts._save
    monkeypatch.setattr(charts, "_save", lambda *parts: kept.append(parts[1][0]) or save(*parts))

    def draw(*arguments):
        charts.draw_points(*arguments, tmp_path / "chart.png")
        assert (tmp_path / "chart.png").stat().st_size > 1000
        return kept.pop()

    return draw


def test_seeds_have_shapes_and_the_first_parameter_colours(drawn):
    axes = drawn(ROWS, "beta", "error", ["beta", "seed"])
    points = [line for line in axes.lines if len(line.get_xdata())]
    assert len(points) == len(ROWS)
    assert len({line.get_marker() for line in points}) == 3
    assert len({line.get_color() for line in points}) == 2
    labels = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert labels == ["beta 1", "beta 10", "seed 0", "seed 1", "seed 2"]


def test_without_a_second_parameter_of_several_values_all_points_have_one_shape(drawn):
    one = [row for row in ROWS if row["seed"] == 0]
    for parameters in (["beta"], ["beta", "seed"]):
        axes = drawn(one, "beta", "error", parameters)
        assert {line.get_marker() for line in axes.lines} == {"o"}
        assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == [
            "beta 1",
            "beta 10",
        ]


def test_a_logarithmic_axis_of_few_decades_labels_more_than_powers_of_ten(drawn):
    rows = [{**row, "error": 0.005 * 200 ** (i / 5)} for i, row in enumerate(ROWS)]
    axes = drawn(rows, "beta", "error", ["beta", "seed"])
    axes.figure.canvas.draw()
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    ticks = axes.yaxis.get_major_locator().tick_values(low, high)
    shown = [axes.yaxis.get_major_formatter()(tick) for tick in ticks if low <= tick <= high]
    assert shown == ["0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]


def test_rows_without_a_value_of_the_second_parameter_have_a_shape_of_their_own(drawn):
    rows = [{k: v for k, v in row.items() if k != "seed" or v} for row in ROWS]  # seed 0 lacks it
    axes = drawn(rows, "beta", "error", ["beta", "seed"])
    assert len({line.get_marker() for line in axes.lines if len(line.get_xdata())}) == 3


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Return a function that draws a training, and returns its axes."""
    kept, save = [], charts._save
    monkeypatch.setattr(charts, "_save", lambda *parts: kept.append(parts[1]) or save(*parts))

    def draw(*arguments):
        charts.draw_training(*arguments, tmp_path / "chart.png")
        return kept.pop()

    return draw


def test_the_legend_of_a_training_tells_colours_and_styles(trained):
    rows = [{**row, "step": step} for row in ROWS for step in (0, 1)]
    axes = trained(rows, ["error"], ["beta", "seed"])[0]
    (legend,) = axes.figure.legends
    entries = {
        text.get_text(): (line.get_color(), line.get_linestyle())
        for text, line in zip(legend.get_texts(), legend.get_lines())
    }
    assert list(entries) == ["beta 1", "beta 10", "seed 0", "seed 1", "seed 2"]
    drawn = [
        (line.get_color(), line.get_linestyle()) for line in axes.lines if len(line.get_xdata())
    ]
    networks = [(beta, seed) for beta in ("beta 1", "beta 10") for seed in range(3)]
    for (beta, seed), look in zip(networks, drawn[:: len(drawn) // len(networks)]):
        assert look == (entries[beta][0], entries[f"seed {seed}"][1])


def test_a_long_legend_moves_no_chart_and_covers_none(trained):
    rows = [{"seed": s, "step": t, "a": s + t, "b": t, "c": s} for s in range(10) for t in (0, 1)]
    panels = trained(rows, ["a", "b", "c"], ["seed"])
    boxes = [axes.get_position() for axes in panels]
    gaps = [above.y0 - below.y1 for above, below in itertools.pairwise(boxes)]
    assert gaps == [pytest.approx(gaps[0])] * 2
    figure = panels[0].figure
    right = max(axes.get_tightbbox().x1 for axes in panels)
    assert right < figure.legends[0].get_window_extent().x0
