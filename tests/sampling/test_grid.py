import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tlp_core import (
    Landscape,
    Problem,
    grid_graph,
    hessian_directions,
    landscape_profile,
    load_problem,
    merge_tree,
    random_directions,
    sample_grid,
    sample_scattered,
)
from tlp_core.directions.base import Directions
from tlp_core.landscape.landscape import axis_points
from tlp_core.model_state import preserve_model
from tlp_core.problem import LossError, convert_problem, mean_loss
from tlp_core.sampling import chunks
from tlp_core.sampling.engine_choice import choose_engine
from tlp_core.sampling.grid import estimate_grid_seconds, grid_plan
from tlp_core.sampling.partition import SinglePart
from tlp_core.sampling.settings import EvaluationSettings, GridSettings, RunSettings


def along_axes(problem, n):
    """Directions along the first n entries of a single parameter."""
    ((name, parameter),) = problem.model.named_parameters()
    units = torch.eye(parameter.numel(), dtype=parameter.dtype)[:n]
    return Directions(
        vectors=tuple({name: unit.reshape(parameter.shape)} for unit in units),
        eigenvalues=np.full(n, np.nan),
        residuals=np.full(n, np.nan),
        method="axes",
        normalization="none",
        seed=0,
    )


@pytest.fixture
def directions(small_problem):
    return hessian_directions(small_problem, 2)


def test_samples_are_the_loss_at_their_coordinates(small_problem, directions):
    landscape = sample_grid(small_problem, directions, resolution=5, distance=[0.5, 2.0])
    start = {name: p.detach().clone() for name, p in small_problem.model.named_parameters()}
    for sample, alpha in enumerate(landscape.coordinates()):
        with torch.no_grad():
            for name, parameter in small_problem.model.named_parameters():
                step = sum(a * vector[name] for a, vector in zip(alpha, directions.vectors))
                parameter.copy_(start[name] + step)
        assert landscape.loss.ravel()[sample] == pytest.approx(mean_loss(small_problem), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_center_is_the_models_loss_to_the_last_bit(small_problem, dtype):
    model = small_problem.model.to(dtype)
    batches = [tuple(t.to(dtype) for t in batch) for batch in small_problem.batches]
    problem = Problem(model, small_problem.loss, batches, name="small")
    landscape = sample_grid(problem, hessian_directions(problem, 3), resolution=3, distance=1.0)
    model.eval()
    assert landscape.center == mean_loss(problem)


def test_coordinates_are_symmetric_and_exactly_zero_in_the_middle():
    for size, distance in ((3, 0.1), (41, 1 / 3), (21, 7.0)):
        points = axis_points(size, distance)
        np.testing.assert_array_equal(points, -points[::-1])
        assert points[size // 2] == 0
        assert points[-1] == distance


def test_the_last_axis_is_the_fastest(small_problem, directions):
    landscape = sample_grid(small_problem, directions, resolution=3, distance=[1.0, 2.0])
    assert landscape.coordinates()[:4].tolist() == [[-1, -2], [-1, 0], [-1, 2], [0, -2]]


def test_a_bowl_has_one_basin():
    problem = load_problem("quadratic-bowl", arguments={"n": 3})
    landscape = sample_grid(problem, hessian_directions(problem, 3), resolution=9, distance=1.0)
    tree = merge_tree(landscape.loss, grid_graph(landscape.shape))
    assert len(tree.branches()) == 1
    assert tree.branches().minimum[0] == 9**3 // 2


def test_two_wells_have_two_basins_of_the_right_depths():
    problem = load_problem("two-wells", arguments={"n": 2, "tilt": 0.2})
    landscape = sample_grid(problem, along_axes(problem, 2), resolution=41, distance=1.2)
    tree = merge_tree(landscape.loss, grid_graph(landscape.shape))
    pairs = tree.branches()
    assert len(pairs) == 2
    assert pairs.birth == pytest.approx([-0.2, 0.2])  # wells at u = -1, +1, both on the grid
    # the barrier is where (u² - 1)² + 0.2u has its maximum between the wells
    u = np.linspace(-0.5, 0.5, 100001)
    barrier = ((u**2 - 1) ** 2 + 0.2 * u).max()
    assert pairs.persistence[1] == pytest.approx(barrier - 0.2, abs=0.01)
    basins = landscape_profile(tree).basins
    assert basins.size[basins.parent == -1].sum() == 41 * 41
    saddle = landscape.coordinates()[pairs.saddle[1]]
    assert abs(saddle[0]) < 0.1
    assert saddle[1] == 0


def test_losses_that_are_not_finite_stay_as_they_are():
    def loss(model, _):
        return torch.where(model.x[0] > 0.4, torch.nan, 1.0) * model.x.square().sum()

    ready = load_problem("quadratic-bowl", arguments={"n": 2})
    problem = Problem(ready.model, loss, [None], name="holes")
    landscape = sample_grid(problem, along_axes(problem, 2), resolution=5, distance=1.0)
    assert np.isnan(landscape.loss[3:]).all()
    assert np.isfinite(landscape.loss[:3]).all()
    assert landscape.is_complete


def test_a_loss_may_take_derivatives_in_its_inputs(small_problem):
    def loss(model, batch):
        x = batch[0].clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return slope.square().mean()

    problem = Problem(small_problem.model, loss, small_problem.batches, name="slopes")
    landscape = sample_grid(problem, hessian_directions(problem, 1), resolution=3, distance=0.1)
    assert landscape.center == mean_loss(problem)


def test_evaluation_mode_is_used_and_the_model_is_restored():
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    x = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
    problem = Problem(model, lambda m, b: m(b).square().mean(), [x], name="modes")
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    directions = hessian_directions(problem, 2)
    first, second = (sample_grid(problem, directions, resolution=3, distance=0.5) for _ in range(2))
    np.testing.assert_array_equal(first.loss, second.loss)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.requires_grad for p in model.parameters())


def test_a_budget_stops_sampling_and_the_same_call_resumes_it(small_problem, directions, tmp_path):
    options = {"resolution": 5, "distance": 1.0}
    whole = sample_grid(small_problem, directions, **options)
    asked = []

    def stop_after_two():
        asked.append(None)
        return len(asked) > 2

    store = tmp_path / "part.zarr"
    with pytest.warns(UserWarning, match="stopped with 15 of 25 samples"):
        part = sample_grid(
            small_problem, directions, store=store, should_stop=stop_after_two, **options
        )
    assert part.evaluated.sum() == 15
    assert np.isnan(part.loss[~part.evaluated]).all()
    np.testing.assert_array_equal(part.loss[part.evaluated], whole.loss[part.evaluated])
    with pytest.warns(UserWarning, match="stopped with 20 of 25"):
        sample_grid(small_problem, directions, store=store, time_budget=1e-9, **options)
    rest = sample_grid(small_problem, directions, store=store, **options)
    np.testing.assert_array_equal(rest.loss, whole.loss)


@pytest.mark.parametrize("is_complete", [False, True])
def test_a_store_is_not_resumed_with_another_loss_of_the_same_center(is_complete, tmp_path):
    def wells(tilt):
        return load_problem("two-wells", arguments={"tilt": tilt})

    directions = random_directions(wells(0.1), 2, normalization="none")
    options = {"resolution": 9, "distance": 1.0, "store": tmp_path / "wells.zarr"}
    part = None if is_complete else SinglePart((1, 4))
    sample_grid(wells(0.1), directions, **options, part=part)
    with pytest.raises(ValueError, match=r"they are .* there and .* now: its loss, data or"):
        sample_grid(wells(0.3), directions, **options)
    assert sample_grid(wells(0.1), directions, **options).is_complete


def box(change=lambda loss: loss, *, edge=np.inf):
    """A loss that is ``edge`` beyond 0.9 along the first axis; a change spares the model."""

    def loss(model, batch):
        x = model.weight.squeeze()
        value = torch.where(x[0].abs() > 0.9, torch.full_like(x[0], edge), 1 + x.square().sum())
        return torch.where(x.square().sum() == 0, value, change(value)) * batch

    model = nn.Linear(3, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    return Problem(model, loss, [torch.ones((), dtype=torch.float64)], name="box")


@pytest.mark.parametrize(
    "other",
    [box(lambda loss: 3 * loss), box(edge=7.0), box(lambda loss: 1.01 * loss)],
    ids=["finite losses behind a chunk without any", "a loss that was not finite", "a hundredth"],
)
def test_stored_losses_are_checked_wherever_they_are_finite(other, tmp_path):
    directions = along_axes(box(), 3)
    options = {"resolution": 5, "distance": 1.0, "store": tmp_path / "box.zarr"}
    assert np.isinf(sample_grid(box(), directions, **options).loss[0]).all()
    with pytest.raises(ValueError, match="choose another path"):
        sample_grid(other, directions, **options)
    nearly = box(lambda loss: 1.0001 * loss)  # as by another machine's rounding
    assert sample_grid(nearly, directions, **options).is_complete


def test_further_losses_are_checked_before_a_store_is_resumed(two_texts, tmp_path):
    directions = random_directions(two_texts, 1, normalization="none")
    options = {"resolution": 5, "distance": 1.0, "store": tmp_path / "two.zarr"}
    sample_grid(two_texts, directions, **options)
    moved = [(x + 2, y) for x, y in two_texts.batches]
    others = {**two_texts.other_batches, "shifted": moved}
    with pytest.raises(ValueError, match="choose another path"):
        sample_grid(replace(two_texts, other_batches=others), directions, **options)


def test_a_stopped_and_resumed_store_has_the_bytes_of_an_undisturbed_one(
    small_problem, directions, tmp_path
):
    options = {"resolution": 5, "distance": 1.0}
    with pytest.warns(UserWarning, match="stopped"):
        sample_grid(
            small_problem, directions, store=tmp_path / "a.zarr", time_budget=1e-9, **options
        )
    for name in ("a.zarr", "b.zarr"):
        sample_grid(small_problem, directions, store=tmp_path / name, **options)
    files = [
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}
        | {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("c/*/*")}
        for name in ("a.zarr", "b.zarr")
    ]
    assert len(files[0]) >= 7
    assert files[0] == files[1]


@pytest.mark.parametrize("coarse", [3, 5])
def test_samples_of_a_coarser_grid_are_reused(small_problem, directions, coarse):
    options = {"distance": [0.3, 2.0], "engine": "single"}
    whole = sample_grid(small_problem, directions, resolution=9, **options)
    rough = sample_grid(small_problem, directions, resolution=coarse, **options)
    marked = Landscape(rough.loss + 1000, rough.distance, rough.evaluated, rough.provenance)
    fine = sample_grid(small_problem, directions, resolution=9, reuse=marked, **options)
    expected = whole.loss.copy()
    expected[:: 8 // (coarse - 1), :: 8 // (coarse - 1)] = marked.loss
    np.testing.assert_array_equal(fine.loss, expected)


def test_samples_of_another_landscape_are_not_reused(small_problem, directions):
    random = random_directions(small_problem, 2)
    other = sample_grid(small_problem, random, resolution=3, distance=1.0)
    with pytest.raises(ValueError, match="the losses in memory must belong to this"):
        sample_grid(small_problem, directions, resolution=5, distance=1.0, reuse=other)


@pytest.mark.parametrize("region", ["box", "ball"])
@pytest.mark.parametrize("n", [1, 3, 10])
def test_scattered_samples_fill_their_region(small_problem, region, n):
    directions = random_directions(small_problem, n, normalization="none")
    distance = np.linspace(0.5, 1.0, n)
    found = sample_scattered(
        small_problem, directions, count=200, distance=distance.tolist(), region=region
    )
    unit = found.coordinates() / distance
    assert unit.shape == (200, n)
    assert (unit[0] == 0).all()
    radius = np.abs(unit).max(axis=1) if region == "box" else np.linalg.norm(unit, axis=1)
    assert radius.max() <= 1
    # the fraction of a region within radius r is r^n
    assert (radius <= 0.5 ** (1 / n)).mean() == pytest.approx(0.5, abs=0.08)
    assert np.abs(unit.mean(axis=0)).max() < 0.1
    small_problem.model.eval()
    assert found.center == mean_loss(small_problem)
    for sample in (1, 77):
        with preserve_model(small_problem.model), torch.no_grad():
            for name, parameter in small_problem.model.named_parameters():
                alpha = found.coordinates()[sample]
                parameter += sum(a * v[name] for a, v in zip(alpha, directions.vectors))
            assert found.loss[sample] == pytest.approx(mean_loss(small_problem))


def test_a_longer_scatter_begins_with_the_shorter(small_problem, directions):
    one, other = (
        sample_scattered(small_problem, directions, count=count, distance=1.0, seed=4)
        for count in (50, 90)
    )
    np.testing.assert_array_equal(one.coordinates(), other.coordinates()[:50])
    np.testing.assert_array_equal(one.loss, other.loss[:50])


def test_scattered_samples_are_stored_resumed_and_opened(small_problem, directions, tmp_path):
    options = {"count": 3000, "distance": 1.0, "engine": "batched", "batch": 100}
    store = tmp_path / "s.zarr"
    with pytest.warns(UserWarning, match="stopped with 1024 of 3000"):
        sample_scattered(small_problem, directions, store=store, time_budget=1e-9, **options)
    found = sample_scattered(small_problem, directions, store=store, **options)
    again = Landscape.open(store)
    np.testing.assert_array_equal(again.coordinates(), found.coordinates())
    whole = sample_scattered(small_problem, directions, **options)
    np.testing.assert_array_equal(again.loss, whole.loss)
    again.save(tmp_path / "copy.zarr")
    copy = Landscape.open(tmp_path / "copy.zarr")
    np.testing.assert_array_equal(copy.points, again.points)
    with pytest.raises(ValueError, match="its points_seed is 0 instead of 1"):
        sample_scattered(small_problem, directions, store=store, seed=1, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 1}, "count must be >= 2, got 1"),
        ({"region": "star"}, "region must be one of box, ball"),
        ({"distance": -1.0}, "distance must be > 0"),
    ],
)
def test_bad_scatters_are_reported(small_problem, directions, options, message):
    with pytest.raises(ValueError, match=message):
        sample_scattered(small_problem, directions, **{"count": 9, "distance": 1.0, **options})


def test_a_loss_that_draws_random_numbers_is_refused_with_the_way_out(small_problem):
    def loss(model, batch):
        return torch.nn.functional.dropout(model(batch[0]), 0.5).square().mean()

    problem = Problem(small_problem.model, loss, small_problem.batches, name="noisy")
    random = random_directions(problem, 1)
    with pytest.raises(LossError, match=r"must be deterministic.*turn dropout"):
        sample_grid(problem, random, resolution=3, distance=1.0)


def test_a_store_of_another_loss_is_refused_even_if_the_directions_are_the_same(
    small_problem, tmp_path
):
    options = {"resolution": 3, "distance": 1.0, "store": tmp_path / "a.zarr"}
    sample_grid(small_problem, random_directions(small_problem, 2), **options)

    def loss(model, batch):
        return 3 * small_problem.loss(model, batch)

    other = Problem(small_problem.model, loss, small_problem.batches, name=small_problem.name)
    with pytest.raises(ValueError, match="its model_loss is"):
        sample_grid(other, random_directions(other, 2), **options)


def test_an_engine_other_than_the_stores_is_refused(small_problem, directions, tmp_path):
    options = {"resolution": 3, "distance": 1.0, "store": tmp_path / "a.zarr"}
    sample_grid(small_problem, directions, engine="batched", batch=4, **options)
    sample_grid(small_problem, directions, **options)
    with pytest.raises(ValueError, match="evaluated by one engine, here 4 at a time, batched"):
        sample_grid(small_problem, directions, engine="single", **options)


def test_progress_reports_the_fraction_done_and_the_time_left(small_problem, directions):
    reports = []
    sample_grid(
        small_problem,
        directions,
        resolution=5,
        distance=1.0,
        progress=lambda fraction, text: reports.append((fraction, text)),
    )
    assert [fraction for fraction, _ in reports] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert reports[0][1].startswith("25 samples, one at a time")
    assert reports[1][1].startswith("sampled 5 of 25, ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 40}, "resolution must be odd.*got 40; use 39 or 41"),
        ({"resolution": 1}, "resolution must be odd and >= 3, got 1"),
        ({"resolution": 3.0}, "resolution must be an integer"),
        ({"distance": 0.0}, "distance must be > 0, got 0"),
        ({"distance": np.inf}, "distance must be finite"),
        ({"distance": [1.0, 1.0, 1.0]}, "one for each of 2 directions"),
        ({"time_budget": -1.0}, "time_budget must be > 0"),
    ],
)
def test_bad_options_are_reported(small_problem, directions, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        sample_grid(small_problem, directions, **{"resolution": 3, "distance": 1.0, **options})


def test_a_grid_that_does_not_fit_is_refused_before_anything_is_allocated(small_problem):
    directions = random_directions(small_problem, 6)
    with pytest.raises(ValueError, match=r"and 1,061,520,150,601 samples need 8,898 GiB of"):
        sample_grid(small_problem, directions, resolution=101, distance=1.0)


def test_a_loss_that_fails_away_from_the_center_is_reported():
    def loss(model, _):
        if model.x[0] > 0:
            raise FloatingPointError("too far")
        return model.x.square().sum()

    ready = load_problem("quadratic-bowl", arguments={"n": 2})
    problem = Problem(ready.model, loss, [None], name="cliff")
    with pytest.raises(LossError, match="'cliff' raised FloatingPointError: too far"):
        sample_grid(problem, along_axes(problem, 2), resolution=3, distance=1.0)
    assert torch.equal(ready.model.x, torch.zeros(2, dtype=torch.float64))


def test_the_landscape_is_that_of_the_loss_as_the_user_calls_it():
    """Without gradients a padded encoder takes another path, with another result."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    model = torch.nn.TransformerEncoder(layer, 2)
    x = torch.randn(4, 6, 8)
    padding = torch.arange(6).expand(4, 6) >= torch.tensor([[6], [4], [3], [2]])

    def loss(model, batch):
        return model(batch[0], src_key_padding_mask=batch[1]).square().sum(dim=2).mean()

    problem = Problem(model, loss, [(x, padding)], name="padded")
    expected = mean_loss(Problem(model.eval(), loss, [(x, padding)], name="padded"))
    directions = random_directions(problem, 2)
    landscape = sample_grid(problem, directions, resolution=3, distance=0.1)
    assert landscape.center == expected
    for name, parameter in model.named_parameters():
        parameter.data.add_(0.1 * directions.vectors[0][name])
    assert landscape.loss[2, 1] == pytest.approx(mean_loss(problem), rel=1e-6)


def test_a_forward_pass_in_bfloat16_leaves_the_steps_between_samples(small_problem):
    """Parameters in bfloat16 would take 10 different values of 21."""
    problem = convert_problem(small_problem, dtype="float32", autocast="bfloat16")
    directions = random_directions(problem, 1, normalization="layer")
    landscape = sample_grid(problem, directions, resolution=21, distance=0.05)
    exact = sample_grid(
        convert_problem(small_problem, dtype="float32"), directions, resolution=21, distance=0.05
    )
    assert len(np.unique(landscape.loss)) == 21
    np.testing.assert_allclose(landscape.loss, exact.loss, rtol=0.02)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_the_noise_of_autocast_is_not_told_where_losses_are_infinite(small_problem):
    problem = convert_problem(small_problem, dtype="float32", autocast="bfloat16")
    directions = random_directions(problem, 1, normalization="layer")
    landscape = sample_grid(problem, directions, resolution=3, distance=1e37)
    assert np.isfinite(landscape.center)
    assert "autocast_noise" not in landscape.provenance


def test_steps_finer_than_the_precision_are_reported(small_problem):
    problem = convert_problem(small_problem, dtype="float32")
    directions = random_directions(problem, 2, normalization="layer")
    with pytest.warns(UserWarning, match="a step between samples along direction 1 is rounded by"):
        sample_grid(problem, directions, resolution=5, distance=1e-6)
    double = convert_problem(small_problem, dtype="float64")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = random_directions(double, 2, normalization="layer")
        sample_grid(double, exact, resolution=5, distance=1e-6)


def test_open_reads_back_what_save_wrote(small_problem, directions, tmp_path):
    landscape = sample_grid(small_problem, directions, resolution=5, distance=1.0)
    landscape.save(tmp_path / "net.zarr")
    again = Landscape.open(tmp_path / "net.zarr")
    np.testing.assert_array_equal(again.loss, landscape.loss)
    np.testing.assert_array_equal(again.distance, landscape.distance)
    assert again.is_complete
    assert dict(again.provenance) == dict(landscape.provenance)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.zarr"]
    with pytest.raises(FileExistsError, match="needs a free path"):
        landscape.save(tmp_path / "net.zarr")


def test_the_time_of_a_grid_is_that_of_a_sample_measured_now(small_problem, monkeypatch):
    directions, seen = random_directions(small_problem, 2), []

    def spied(*arguments, **options):
        seen.append(choose_engine(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(chunks, "choose_engine", spied)
    grid = GridSettings(resolution=11, distance=1.0)
    estimate = estimate_grid_seconds(small_problem, directions, grid, EvaluationSettings())
    assert estimate == pytest.approx(121 * seen[0].seconds)
    assert small_problem.model.training


@pytest.fixture
def two_texts(small_problem):
    """A problem with two further sets of batches, the second one the first's own."""
    others = {"shifted": [(x + 1, y) for x, y in small_problem.batches]}
    others["same"] = list(small_problem.batches)
    return replace(small_problem, other_batches=others)


@pytest.mark.parametrize("options", [{}, {"engine": "batched"}, {"engine": "single"}])
def test_further_losses_are_sampled_at_the_same_points(two_texts, options, tmp_path):
    directions = random_directions(two_texts, 2)
    settings = {"resolution": 5, "distance": 0.5, **options}
    found = sample_grid(two_texts, directions, store=tmp_path / "many.zarr", **settings)
    alone = replace(two_texts, batches=two_texts.other_batches["shifted"], other_batches={})
    expected = sample_grid(alone, directions, **settings)
    assert list(found.other_losses) == ["shifted", "same"]
    np.testing.assert_allclose(found.other_losses["shifted"], expected.loss, rtol=1e-12)
    np.testing.assert_array_equal(found.other_losses["same"], found.loss)
    opened = Landscape.open(tmp_path / "many.zarr")
    np.testing.assert_array_equal(opened.of_loss("shifted").loss, found.other_losses["shifted"])
    opened.save(tmp_path / "copy.zarr")
    copy = Landscape.open(tmp_path / "copy.zarr")
    np.testing.assert_array_equal(copy.other_losses["shifted"], opened.other_losses["shifted"])
    with pytest.raises(ValueError, match="loss must be one of shifted, same, got 'none'"):
        opened.of_loss("none")


def test_further_losses_are_reused_and_resumed(two_texts, tmp_path):
    directions = random_directions(two_texts, 2)
    path, options = tmp_path / "l.zarr", {"resolution": 5, "distance": 0.5}
    whole = sample_grid(two_texts, directions, store=path, **options)
    coarse = sample_grid(two_texts, directions, resolution=3, distance=0.5)
    reused = sample_grid(two_texts, directions, reuse=coarse, **options)
    np.testing.assert_allclose(reused.other_losses["shifted"], whole.other_losses["shifted"])
    chunk = next(file for file in (path / "loss" / "c").rglob("*") if file.is_file())
    chunk.unlink()
    again = sample_grid(two_texts, directions, store=path, **options)
    np.testing.assert_array_equal(again.other_losses["shifted"], whole.other_losses["shifted"])
    fewer = replace(two_texts, other_batches={})
    with pytest.raises(ValueError, match="must belong to this landscape"):
        sample_grid(fewer, directions, store=path, **options)


@pytest.mark.parametrize("name", ["", "Loss", "sampleid"])
def test_further_losses_have_names_of_their_own(small_problem, name):
    with pytest.raises(ValueError, match="other batches must have a name of their own"):
        replace(small_problem, other_batches={name: list(small_problem.batches)})


def many_batches(count):
    """A network with batches of different sizes, and others of a further loss."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()

    def batch(size):
        x = torch.randn(size, 2, dtype=torch.float64, generator=generator)
        return x, torch.sin(x.sum(1, keepdim=True))

    def loss(model, batch):
        return nn.functional.mse_loss(model(batch[0]), batch[1])

    batches = [batch(3 + i % 4) for i in range(count)]
    return Problem(model, loss, batches, name="many", other_batches={"other": [batch(7)]})


@pytest.mark.parametrize("engine", ["single", "batched"])
def test_losses_on_batches_are_kept_on_request(engine, tmp_path):
    problem = many_batches(9)
    directions = random_directions(problem, 2)
    plan = grid_plan(GridSettings(5, 1.0), 2)

    def sample(store, **options):
        evaluation = EvaluationSettings(engine, **options)
        return chunks.sample_plan(problem, directions, plan, evaluation, RunSettings(), store=store)

    plain, kept = sample(None), sample(tmp_path / "a.zarr", batch_losses=True)
    assert kept.batch_losses.shape == (9, 5, 5)
    np.testing.assert_array_equal(kept.loss, plain.loss)
    np.testing.assert_array_equal(kept.other_losses["other"], plain.other_losses["other"])
    weights = kept.batch_sizes / kept.batch_sizes.sum()
    assert kept.provenance["batch_sizes"] == [len(x) for x, _ in problem.batches]
    mean = np.tensordot(weights, kept.batch_losses, 1)
    np.testing.assert_allclose(mean, kept.loss, rtol=1e-12)
    one = replace(problem, batches=[problem.batches[4]], other_batches={})
    alone = chunks.sample_plan(one, directions, plan, EvaluationSettings(engine), RunSettings())
    np.testing.assert_allclose(kept.batch_losses[4], alone.loss, rtol=1e-12)
    again = Landscape.open(tmp_path / "a.zarr")
    np.testing.assert_array_equal(again.batch_losses, kept.batch_losses)
    again.save(tmp_path / "b.zarr")
    np.testing.assert_array_equal(
        Landscape.open(tmp_path / "b.zarr").batch_losses, kept.batch_losses
    )
    assert again.of_loss("other").batch_losses.size == 0
    assert plain.batch_losses.size == 0
    with pytest.raises(ValueError, match="its batch_sizes is"):
        sample(tmp_path / "a.zarr")


def test_losses_on_batches_are_resumed_and_damage_is_reported(tmp_path):
    problem = many_batches(8)
    directions = random_directions(problem, 3)
    plan, path = grid_plan(GridSettings(5, 1.0), 3), tmp_path / "a.zarr"
    evaluation = EvaluationSettings("single", batch_losses=True)

    def sample(**options):
        run = RunSettings(**options)
        return chunks.sample_plan(problem, directions, plan, evaluation, run, store=path)

    with pytest.warns(UserWarning, match="sampling stopped with 25 of 125"):
        part = sample(time_budget=1e-9)
    assert np.isfinite(part.batch_losses).sum() == 8 * 25
    whole = sample()
    assert np.isfinite(whole.batch_losses).all()
    coarse = grid_plan(GridSettings(3, 1.0), 3)
    first = chunks.sample_plan(problem, directions, coarse, evaluation, RunSettings())
    reused = chunks.sample_plan(problem, directions, plan, evaluation, RunSettings(), reuse=first)
    np.testing.assert_array_equal(reused.batch_losses, whole.batch_losses)
    files = sorted(p for p in (path / "batch_losses").rglob("*") if p.is_file())
    chunk_files = [p for p in files if p.name != "zarr.json"]
    assert len(chunk_files) == 5
    one, other = chunk_files[:2]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged in its losses on batches"):
        Landscape.open(path)
