"""Models that several ranks hold together, beside the same model in one process."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from tests.sampling.test_distributed import launch
from tests.tiny_models import llama_config
from tlp_core import (
    Directions,
    Landscape,
    hessian_directions,
    hessian_trace,
    load_problem,
    random_directions,
    sample_grid,
    trajectory_directions,
)
from tlp_core.choices import NORMALIZATIONS
from tlp_core.cli.main import main
from tlp_core.cli.output import INCOMPLETE
from tlp_core.directions.flat import draw
from tlp_core.directions.hessian.critical_sharpness import critical_sharpness
from tlp_core.problem import mean_loss, shard_problem
from tlp_core.problems.weights import load_checkpoint
from tlp_core.sampling.partition import SinglePart, part_of_process
from tlp_core.sampling.settings import RunSettings
from tlp_core.shards import deal

transformers = pytest.importorskip("transformers")

GRID = ["--method", "random", "--normalization", "layer", "-n", "3", "-r", "5", "-q"]
"""Options of 125 samples."""

ARGUMENTS = {"length": 8, "tokens": 88, "batch": 4}
"""11 sequences in three batches, the last of three sequences: one rank of two has none of it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Llama with tied weights and an odd vocabulary, so that shards differ in size."""
    place = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(llama_config(vocab_size=33))
    model.save_pretrained(place)
    np.save(place / "tokens.npy", np.random.default_rng(0).integers(0, 33, 4000))
    return place


@pytest.fixture(scope="module")
def problem(folder):
    return [
        f"hf:{folder}",
        "-a",
        ", ".join(
            f"{k}={v!r}" for k, v in {"text": str(folder / "tokens.npy"), **ARGUMENTS}.items()
        ),
    ]


NETWORK = """
import os
import signal
import torch
from tlp_core import Problem


def make_problem(killed=0, beyond=1.0):
    "Losses above those of the model itself are times ``beyond``."
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1))
    x = torch.randn(40, 2)
    made = []

    def error(model, batch):
        return (model(batch) - batch.sum(1, keepdim=True)).square().mean()

    highest = 1.01 * max(error(model, batch).item() for batch in x.split(10))

    def loss(model, batch):
        made.append(1)
        if os.environ.get("RANK") == "1" and len(made) == killed:
            os.kill(os.getpid(), signal.SIGKILL)
        found = error(model, batch)
        return torch.where(found > highest, beyond * found, found)

    return Problem(model, loss, list(x.split(10)), name="small")
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "net.py"
    path.write_text(NETWORK)
    return str(path)


def rows(path, network):
    found = Directions.load(path, load_problem(network).model)
    flat = [torch.cat([part.ravel() for part in vector.values()]) for vector in found.vectors]
    return found, torch.stack(flat).double().numpy()


def test_two_ranks_with_half_a_model_each_find_its_eigenvectors(network, tmp_path):
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    command = ["directions", network, "-n", "2", "--method", "lanczos", "--tolerance", "1e-6"]
    assert main([*command, "-o", str(paths[0])]) == 0
    command += ["--shards", "2", "--product", "finite-difference", "-o", str(paths[1])]
    done = launch(2, "-m", "tlp_core", *command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("directions=2") == 1
    (expected, one), (found, other) = (rows(path, network) for path in paths)
    assert found.eigenvalues == pytest.approx(expected.eigenvalues, rel=0.01)
    assert np.linalg.svd(one @ other.T)[1] == pytest.approx([1, 1], abs=1e-3)
    assert np.allclose(np.linalg.norm(other, axis=1), 1)


@pytest.fixture
def sharded(network, tmp_path):
    """A model whose only shard is on this process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/address", rank=0, world_size=1)
    try:
        yield shard_problem(load_problem(network), init_device_mesh("cpu", (1,)))
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: hessian_directions(p, 2, method="lanczos"), "finite differences, got autograd"),
        (
            lambda p: hessian_directions(p, 2, product="finite-difference"),
            "method must be lanczos for a sharded model",
        ),
        (
            lambda p: hessian_directions(p, 23, method="lanczos", product="finite-difference"),
            "n must be below 22 for a sharded model of this size, got 23",
        ),
        (lambda p: trajectory_directions(p, 1, [p.model.state_dict()]), "got trajectory"),
        (
            lambda p: sample_grid(
                p, random_directions(p, 1), resolution=3, distance=1.0, engine="batched"
            ),
            "a sharded model must be evaluated one sample at a time, got engine batched",
        ),
    ],
)
def test_what_a_sharded_model_cannot_do_is_reported(make, message, sharded):
    with pytest.raises(ValueError, match=message):
        make(sharded)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_sharded_model_has_the_directions_and_losses_of_the_whole_one(
    normalization, network, sharded
):
    whole = load_problem(network)
    landscapes = []
    for problem in (whole, sharded):
        directions = random_directions(problem, 2, normalization=normalization)
        landscapes.append(sample_grid(problem, directions, resolution=3, distance=0.5))
    one, other = landscapes
    assert np.allclose(one.loss, other.loss, rtol=1e-5)
    assert one.center == other.center
    state, found = whole.model.state_dict(), sharded.model.state_dict()
    assert all(torch.equal(state[name], found[name].full_tensor()) for name in state)


def test_a_sharded_model_takes_the_weights_of_a_checkpoint(network, sharded, tmp_path):
    other = load_problem(network)
    for parameter in other.model.parameters():
        parameter.data.mul_(2)
    torch.save(other.model.state_dict(), tmp_path / "weights.pt")
    load_checkpoint(sharded, tmp_path / "weights.pt")
    assert mean_loss(sharded) == mean_loss(other)


def test_critical_sharpness_and_trace_are_those_of_the_whole_model(network, sharded):
    whole = load_problem(network)
    assert critical_sharpness(sharded).value == pytest.approx(critical_sharpness(whole).value)
    one = hessian_trace(whole, max_vectors=10)
    other = hessian_trace(sharded, max_vectors=10, product="finite-difference")
    assert other.value == pytest.approx(one.value, rel=0.02)


@pytest.mark.exhaustive
def test_two_groups_of_two_ranks_sample_the_landscape_of_one_process(problem, tmp_path):
    directions = str(tmp_path / "directions.safetensors")
    made = ["--method", "random", "--normalization", "filter", "-o", directions]
    assert main(["directions", *problem, *made]) == 0
    command = ["sample", *problem, "-r", "5", "-q", "--directions-file", directions]
    stores = [tmp_path / "one.zarr", tmp_path / "four.zarr"]
    assert main([*command, "-o", str(stores[0])]) == 0
    done = launch(4, "-m", "tlp_core", *command, "--shards", "2", "-o", str(stores[1]))
    assert done.returncode == 0, done.stderr
    one, four = map(Landscape.open, stores)
    assert four.is_complete
    assert four.center == one.center  # to the bit
    assert np.allclose(four.loss, one.loss, rtol=1e-6)
    assert np.ptp(one.loss) > 1e-3
    assert four.provenance["directions_hash"] == one.provenance["directions_hash"]
    assert four.provenance["checkpoint_hash"] == one.provenance["checkpoint_hash"]


@pytest.fixture
def sample(network, tmp_path):
    """Return a function that samples with a model on two ranks into a store of a given name."""

    def run(name, *more):
        command = ["sample", network, *GRID, *more, "--shards", "2", "-o", str(tmp_path / name)]
        return launch(2, "-m", "tlp_core", *command)

    return run


@pytest.mark.exhaustive
def test_a_killed_rank_ends_all_and_the_same_command_resumes_the_store(sample, network, tmp_path):
    done = sample("a.zarr", "-a", "killed=100")
    assert done.returncode == 1
    assert "rank 0 ends the run" in done.stderr
    assert "the same command resumes the store" in done.stderr
    assert 0 < Landscape.open(tmp_path / "a.zarr").evaluated.sum() < 125
    done = sample("a.zarr")
    assert done.returncode == 0, done.stderr
    assert main(["sample", network, *GRID, "-o", str(tmp_path / "b.zarr")]) == 0
    resumed, one = (Landscape.open(tmp_path / name) for name in ("a.zarr", "b.zarr"))
    assert resumed.is_complete
    assert np.allclose(resumed.loss, one.loss, rtol=1e-5)


@pytest.mark.exhaustive
def test_a_store_is_not_resumed_with_another_loss(sample, tmp_path):
    done = sample("a.zarr", "--time-budget", "0.01")
    assert f"exitcode  : {INCOMPLETE} " in done.stderr  # of each rank; that of torchrun is 1
    assert 0 < Landscape.open(tmp_path / "a.zarr").evaluated.sum() < 125
    done = sample("a.zarr", "-a", "beyond=2.0")  # the model's own loss is the same
    assert done.returncode == 1
    assert "its loss, data or arguments have changed; choose another path" in done.stderr


def test_the_landscapes_of_a_training_are_those_of_one_process(network, tmp_path):
    weights = load_problem(network).model.state_dict()
    for step in (1, 2):
        state = {name: step * tensor for name, tensor in weights.items()}
        torch.save(state, tmp_path / f"step{step}.pt")
    command = ["training", network, "--checkpoints", str(tmp_path), "--method", "random", "-r", "3"]
    command += ["--normalization", "layer", "-q", "-o"]
    assert main([*command, str(tmp_path / "one")]) == 0
    done = launch(2, "-m", "tlp_core", *command, str(tmp_path / "two"), "--shards", "2")
    assert done.returncode == 0, done.stderr
    one, two = (
        {path.name: Landscape.open(path) for path in (tmp_path / name).rglob("*.zarr")}
        for name in ("one", "two")
    )
    losses = [np.stack([each[name].loss for name in sorted(each)]) for each in (one, two)]
    assert losses[0].shape == (2, 3, 3)
    assert np.allclose(losses[0], losses[1], rtol=1e-5)


@pytest.mark.exhaustive
def test_ranks_write_each_row_of_a_table_once(problem, folder, tmp_path):
    command = ["blocks", *problem, "--checkpoints", str(folder), "--groups", "embedding", "-r", "3"]
    command += ["--method", "random", "--trace-vectors", "0", "--no-sharpness", "-q"]
    command += ["--shards", "2"]
    done = launch(2, "-m", "tlp_core", *command, "-o", str(tmp_path / "blocks.csv"))
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "blocks.csv").read_text().splitlines()) == 2  # the header and a row
    assert done.stdout.count("group=embedding") == 1


def test_a_path_refuses_ranks(network, tmp_path, monkeypatch, capsys):
    several = type("Several", (), {"is_alone": False})()
    monkeypatch.setattr("tlp_core.sampling.partition.part_of_process", lambda: several)
    command = ["path", network, "--to", "other.pt", "-o", str(tmp_path / "path.csv")]
    assert main(command) == 1
    assert "tlp path must run in one process, got several ranks" in capsys.readouterr().err


def test_shards_need_ranks(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ValueError, match="a model in 2 shards must have ranks of torch, got none"):
        part_of_process(shards=2)
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="must be a multiple of 2, the number of shards, got 3"):
        part_of_process(shards=2)
    with pytest.raises(ValueError, match="shards must be >= 1, got 0"):
        RunSettings(shards=0)


def test_tasks_of_srun_that_do_not_know_each_other_are_warned(monkeypatch):
    for name in ("MASTER_ADDR", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE", "MPI_LOCALNRANKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert isinstance(part_of_process(), SinglePart)  # in a script of sbatch, without srun
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.warns(UserWarning, match="each of the 2 tasks of srun samples alone; set MASTER_"):
        assert isinstance(part_of_process(), SinglePart)


@pytest.mark.parametrize("count", [1, 4, 5, 8])
def test_every_rank_gets_as_many_batches_and_each_batch_counts_once(count, monkeypatch):
    dealt = []
    for rank in range(4):
        monkeypatch.setattr("torch.distributed.get_rank", lambda _, rank=rank: rank)
        monkeypatch.setattr("torch.distributed.get_world_size", lambda _: 4)
        dealt.append(list(deal(range(count), "group")))
    assert {len(own) for own in dealt} == {-(-count // 4)}
    rounds = [batch for of_round in zip(*dealt) for batch, counts in of_round if counts]
    assert rounds == list(range(count))


def test_a_part_of_a_vector_has_the_entries_of_the_whole(monkeypatch):
    parameters = [torch.zeros(5, 3), torch.zeros(4)]
    whole = draw(torch.empty(19), parameters, np.random.default_rng(0).standard_normal)
    monkeypatch.setattr("tlp_core.directions.flat.PIECE", 7)
    assert torch.equal(
        draw(torch.empty(19), parameters, np.random.default_rng(0).standard_normal), whole
    )
    ranges = {id(parameters[0]): (3, 9), id(parameters[1]): (1, 4)}
    monkeypatch.setattr("tlp_core.directions.flat.range_in_whole", lambda p: ranges[id(p)])
    part = draw(torch.empty(9), parameters, np.random.default_rng(0).standard_normal)
    assert torch.equal(part, torch.cat([whole[3:9], whole[16:19]]))
