"""Which basins are real: promised false discoveries, power, and a slow version."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from tlp_core import Landscape, grid_graph, knn_graph, landscape_profile, merge_tree
from tlp_core.analysis.noise import (
    basin_noise,
    landscape_noise,
    significant_tree,
)
from tlp_core.analysis.tree_settings import TreeSettings
from tlp_core.cli.main import main

SIZE, ERROR = 21, 0.05
"""Points along each axis, and standard error of a sample."""

CENTERS = ((0.0, 0.0), (0.6, 0.6), (-0.6, 0.5), (0.5, -0.6))


def wells(depth):
    """A bowl with a well at the origin, and three further ones of a depth; (SIZE, SIZE)."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, SIZE)] * 2, indexing="ij")
    loss = 0.3 * (x**2 + y**2)
    for i, (a, b) in enumerate(CENTERS):
        height = depth if i else max(depth, 1.0)
        loss = loss - height * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.05)
    return loss


def noisy_batches(rng, loss, batches, width):
    """Losses of batches whose mean has a standard error, correlated over a width of samples."""
    noise = rng.normal(size=(batches, *loss.shape))
    if width:
        noise = gaussian_filter(noise, (0, width, width), mode="wrap")
        noise /= noise.std()
    return loss + np.sqrt(batches) * ERROR * noise


def accepted(rng, depth, batches, width):
    """Numbers of the basins that are accepted near a well, and elsewhere."""
    losses = noisy_batches(rng, wells(depth), batches, width)
    graph = grid_graph((SIZE, SIZE))
    tree = merge_tree(losses.mean(0), graph)
    noise = basin_noise(tree, graph, losses, draws=199, seed=int(rng.integers(10**9)))
    pairs = tree.branches()
    found = pairs.minimum[1:][noise.q_value[1:] <= 0.05]
    places = np.linspace(-1, 1, SIZE)[np.stack(np.unravel_index(found, (SIZE, SIZE)), 1)]
    distance = np.linalg.norm(places[:, None] - np.array(CENTERS), axis=2).min(1)
    near = int((distance < 0.25).sum()) if depth else 0
    return near, len(found) - near


@pytest.mark.parametrize("batches", [8, 32])
@pytest.mark.parametrize("width", [0, 1.5, 4])
@pytest.mark.parametrize("depth", [0.0, 0.5])
def test_fewer_basins_than_promised_are_accepted_wrongly(batches, width, depth):
    """The share of trials with a false basin is at least the false discovery rate, 5 %."""
    rng = np.random.default_rng(batches)
    found = np.array([accepted(rng, depth, batches, width) for _ in range(40)])
    assert (found[:, 1] > 0).mean() <= 0.05
    if depth and width:  # a well of ten standard errors
        assert found[:, 0].mean() >= 2.5


def test_the_p_value_is_the_share_of_draws_whose_errors_differ_as_much():
    """Beside a version that finds each basin by the edges, and computes draws one by one."""
    rng = np.random.default_rng(3)
    losses = noisy_batches(rng, wells(0.3), 12, 1.5)
    sizes = rng.integers(5, 20, size=12)
    weights = sizes / sizes.sum()
    graph = grid_graph((SIZE, SIZE))
    flat = losses.reshape(12, -1)
    center = weights @ flat
    tree = merge_tree(center, graph)
    noise = basin_noise(tree, graph, losses, batch_sizes=sizes, draws=50, seed=7)

    pairs = tree.branches()
    edges = np.concatenate([graph.edges(), graph.edges()[:, ::-1]])
    draws = np.random.default_rng(7).multinomial(12, np.full(12, 1 / 12), 50)
    for branch in range(1, len(pairs)):
        inside = {int(pairs.minimum[branch])}
        while True:  # all samples below the saddle that are joined to the minimum
            leads_on = np.isin(edges[:, 0], list(inside))
            around = set(edges[leads_on, 1].tolist())
            more = {i for i in around if tree.values[i] < pairs.death[branch]} - inside
            if not more:
                break
            inside |= more
        exceeding = 0
        for drawn in draws:
            error = (drawn * weights / (drawn @ weights)) @ flat - center
            spread = max(error[list(inside | around)]) - min(error[list(inside)])
            exceeding += np.sqrt(12 / 11) * spread >= pairs.persistence[branch]
        if exceeding >= 5:
            assert noise.p_value[branch] == (1 + exceeding) / 51
        else:  # the tail of a fitted distribution
            assert 0 < noise.p_value[branch] <= (1 + exceeding) / 51


def test_deep_wells_are_told_from_hundreds_of_basins_of_noise():
    """More than fifty tests leave no p-value of a thousand draws small enough."""
    rng = np.random.default_rng(5)
    x, y = np.meshgrid(*[np.linspace(-1, 1, 41)] * 2, indexing="ij")
    loss = -10 * np.exp(-((x - 0.5) ** 2 + y**2) / 0.05)
    loss = loss - 12 * np.exp(-((x + 0.5) ** 2 + y**2) / 0.05)
    graph = grid_graph((41, 41))
    for with_wells in (True, False):
        losses = noisy_batches(rng, loss * with_wells, 16, 0)
        tree = merge_tree(losses.mean(0), graph)
        noise = basin_noise(tree, graph, losses)
        assert len(noise) > 100
        assert (noise.q_value <= 0.05).sum() == (2 if with_wells else 1)


def test_basins_of_scattered_samples_are_tested_as_well():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, size=(400, 2))
    loss = -sum(np.exp(-((points - c) ** 2).sum(1) / 0.05) for c in ((0.5, 0.5), (-0.5, -0.5)))
    losses = loss + 0.01 * rng.normal(size=(16, 400))
    graph = knn_graph(points)
    tree = merge_tree(losses.mean(0), graph)
    noise = basin_noise(tree, graph, losses)
    real = merge_tree(loss, graph).simplified(0.05).branches().minimum  # some are the graph's
    pairs = tree.branches()
    near = np.linalg.norm(
        points[pairs.minimum[noise.q_value <= 0.05]][:, None] - points[real], axis=2
    )
    assert 2 <= len(near) <= len(real)
    assert (near.min(1) < 0.15).all()
    differences = losses[:, pairs.saddle] - losses[:, pairs.minimum]
    expected = differences.std(0, ddof=1) / 4
    np.testing.assert_allclose(noise.standard_error, expected, rtol=1e-10)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_laws_of_p_and_q(seed):
    rng = np.random.default_rng(seed)
    losses = rng.normal(size=(9, 7, 5)) + 3 * rng.random((7, 5))
    graph = grid_graph((7, 5))
    tree = merge_tree(losses.mean(0), graph)
    noise = basin_noise(tree, graph, losses, draws=39)
    pairs = tree.branches()
    assert noise.p_value[0] == noise.q_value[0] == 0
    assert (noise.p_value[1:] > 0).all()
    assert ((noise.q_value >= 0) & (noise.q_value <= 1)).all()
    assert (noise.q_value[pairs.parent[1:]] <= noise.q_value[1:]).all()
    for rate in (0.1, 0.5):
        kept = significant_tree(tree, noise, rate=rate)
        assert len(kept.branches()) == (noise.q_value <= rate).sum()
    of_basins = noise.of_basins(tree)
    assert len(of_basins) == len(landscape_profile(tree).basins)
    np.testing.assert_array_equal(of_basins[pairs.top_node[1:]], noise.q_value[1:])
    shifted = basin_noise(tree, graph, losses + np.arange(9)[:, None, None], draws=39)
    # errors that all samples share
    np.testing.assert_allclose(shifted.p_value, noise.p_value, rtol=1e-6)


def test_bad_losses_of_batches_are_reported():
    graph = grid_graph((3, 3))
    losses = np.random.default_rng(0).normal(size=(8, 3, 3))
    tree = merge_tree(losses.mean(0), graph)
    for wrong, message in (
        (losses[:7], "at least 8 batches .* got 7; use smaller batches"),
        (losses[:, :2], "as many as the samples, 9, got 6"),
        (np.where(losses == losses[2, 1, 1], np.nan, losses), "finite where the loss is"),
    ):
        with pytest.raises(ValueError, match=message):
            basin_noise(tree, graph, wrong)
    with pytest.raises(ValueError, match="batch_sizes must be 8 numbers > 0"):
        basin_noise(tree, graph, losses, batch_sizes=[1] * 7)
    with pytest.raises(ValueError, match="draws must be >= 19"):
        basin_noise(tree, graph, losses, draws=9)
    with pytest.raises(ValueError, match="rate must lie between 0 and 1"):
        significant_tree(tree, basin_noise(tree, graph, losses), rate=1.0)


def test_a_non_finite_sample_is_never_part_of_a_basin():
    losses = noisy_batches(np.random.default_rng(1), wells(0.5), 16, 1.5)
    losses[3, 0, 0] = np.nan
    graph = grid_graph((SIZE, SIZE))
    tree = merge_tree(losses.mean(0), graph)
    assert np.isfinite(basin_noise(tree, graph, losses).p_value).all()


@pytest.fixture
def noisy_store(tmp_path):
    losses = noisy_batches(np.random.default_rng(2), wells(0.5), 16, 1.5)
    landscape = Landscape(
        losses.mean(0) + 2.0,
        np.ones(2),
        np.ones((SIZE, SIZE), dtype=bool),
        {"batch_sizes": [4] * 16},
        batch_losses=losses + 2.0,
    )
    landscape.save(tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


def test_the_commands_tell_noise(noisy_store, capsys, tmp_path):
    landscape = Landscape.open(noisy_store)
    tree = TreeSettings().tree(landscape)
    noise = landscape_noise(landscape, tree)
    real = int((noise.q_value <= 0.05).sum())
    assert real == 4 < len(noise)
    assert main(["describe", str(noisy_store), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["number_of_significant_minima"], found["number_of_minima"]) == (4, len(noise))
    assert main(["describe", str(noisy_store), "--json", "--significance", "0.05"]) == 0
    assert json.loads(capsys.readouterr().out)["number_of_minima"] == 4
    assert main(["plot", str(noisy_store), "-o", str(tmp_path / "a.svg")]) == 0
    assert "may be noise" in (tmp_path / "a.svg").read_text()
    plain = replace(landscape, batch_losses=np.empty(0), provenance={})
    plain.save(tmp_path / "plain.zarr")
    assert main(["describe", str(tmp_path / "plain.zarr"), "--significance", "0.05"]) == 1
    assert "at least 8 batches tell noise from basins, got 0" in capsys.readouterr().err


def test_persistence_can_be_measured_on_the_logarithm_of_the_loss(tmp_path, capsys):
    """Two basins, a decade deep at a loss of 1e-5, and a tenth of a decade at a loss of 1."""
    loss = np.array([2.0, 1e-5, 1e-4, 1e-5, 2.0, 1.9, 2.0])
    Landscape(loss, np.ones(1), np.ones(7, dtype=bool)).save(tmp_path / "a.zarr")
    describe = ["describe", str(tmp_path / "a.zarr"), "--json", "--threshold", "0.01"]
    assert main(describe) == 0
    linear = json.loads(capsys.readouterr().out)
    assert linear["number_of_minima"] == 2
    assert linear["average_finite_persistence"] == pytest.approx(0.1)
    assert main([*describe, "--log-loss"]) == 0
    logarithmic = json.loads(capsys.readouterr().out)
    assert logarithmic["number_of_minima"] == 2
    assert logarithmic["average_finite_persistence"] == pytest.approx(1.0)
    assert logarithmic["minimum_loss"] == linear["minimum_loss"] == 1e-5  # a loss, not a logarithm
    assert logarithmic["maximum_loss"] == linear["maximum_loss"] == 2.0
    assert logarithmic["persistence_unit"] == "log10 of the loss"
    assert "persistence_unit" not in linear
    tree = TreeSettings(threshold=0.01, logarithmic=True).tree(Landscape.open(tmp_path / "a.zarr"))
    assert tree.levels.min() == 1e-5
    assert tree.branches().persistence[1] == pytest.approx(9e-5)
    Landscape(loss - 1, np.ones(1), np.ones(7, dtype=bool)).save(tmp_path / "b.zarr")
    assert main(["describe", str(tmp_path / "b.zarr"), "--log-loss"]) == 1
    assert "logarithm of the loss needs losses above 0, got -0.99999" in capsys.readouterr().err
