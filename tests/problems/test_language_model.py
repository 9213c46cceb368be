"""Causal language models of Hugging Face: made on the spot, in the layouts that users have."""

import json
import mmap
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from tests.tiny_models import COMMON, llama_config
from tlp_core import (
    grid_graph,
    hessian_directions,
    load_problem,
    merge_tree,
    random_directions,
    sample_grid,
)
from tlp_core.landscape.series import find_checkpoints
from tlp_core.model_state import select_parameters, trainable_parameters, use_threads
from tlp_core.problem import convert_problem, hash_batches, mean_loss
from tlp_core.problems.language_model import _sequences
from tlp_core.problems.parameter_groups import parameter_groups
from tlp_core.problems.weight_files import model_folder
from tlp_core.problems.weights import hash_checkpoint, load_checkpoint

transformers = pytest.importorskip("transformers")

WORDS = ["[UNK]", "the", "of", "a", "to", "is", "."]
LAYOUTS = {
    "llama": llama_config,
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=32,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=None,
        eos_token_id=None,
    ),
    "neox": lambda: transformers.GPTNeoXConfig(**COMMON),
    "gemma": lambda: transformers.GemmaConfig(**COMMON, num_key_value_heads=1, head_dim=8),
}
LAST_BLOCK = "model.layers.1.*,transformer.h.1.*,gpt_neox.layers.1.*"
STEPS = (100, 500)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "tokens.npy"
    np.save(path, np.random.default_rng(0).integers(0, 32, 4000).astype(np.uint16))
    return str(path)


@pytest.fixture(scope="module")
def models():
    """Two models of each layout, the steps of a training."""
    torch.manual_seed(0)
    return {
        layout: [transformers.AutoModelForCausalLM.from_config(make()).eval() for _ in STEPS]
        for layout, make in LAYOUTS.items()
    }


def trained(models, layout, folder, *, shards=False, half=False):
    """The folders of a trainer: ``checkpoint-100`` and ``checkpoint-500``."""
    for step, model in zip(STEPS, models[layout]):
        place = folder / f"checkpoint-{step}"
        saved = model.to(torch.bfloat16) if half else model
        saved.save_pretrained(place, max_shard_size="6KB" if shards else "1GB")
        model.float()
        (place / "trainer_state.json").write_text(json.dumps({"global_step": step}))
        torch.save({"state": {}}, place / "optimizer.pt")
    return folder


def load(folder, text="", /, **options):
    options = {"text": text, "length": 8, "tokens": 64, "batch": 4, **options}
    return load_problem(f"hf:{folder}", arguments=options)


def loss_of(model, problem):
    """The library's own loss of a model on the batches of a problem."""
    with torch.no_grad():
        return np.mean([float(model(input_ids=b, labels=b).loss) for b in problem.batches])


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_loads_each_step_of_a_training(layout, shards, models, tokens, tmp_path):
    folder = trained(models, layout, tmp_path, shards=shards)
    assert (len(list(folder.glob("checkpoint-500/*.safetensors"))) > 1) == shards
    members = find_checkpoints([folder])
    assert [member.step for member in members] == list(STEPS)
    problem = load(folder / "checkpoint-500", tokens)
    assert mean_loss(problem) == pytest.approx(loss_of(models[layout][1], problem), rel=1e-6)
    for member, model in zip(members, models[layout]):
        load_checkpoint(problem, member.path)
        assert mean_loss(problem) == pytest.approx(loss_of(model, problem), rel=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_a_landscape_along_its_eigenvectors(layout, models, tokens, tmp_path):
    folder = trained(models, layout, tmp_path)
    problem = load(folder / "checkpoint-100", tokens)
    found = hessian_directions(
        problem, 2, method="lanczos", max_iterations=30, parameters=LAST_BLOCK
    )
    assert all("1" in name for name in found.names)
    landscape = sample_grid(problem, found, resolution=3, distance=0.1)
    assert landscape.center == mean_loss(problem)
    assert np.ptp(landscape.loss) > 0


def test_blocks_without_kept_activations_have_the_same_hessian(models, tokens, tmp_path):
    folder = trained(models, "llama", tmp_path) / "checkpoint-500"
    plain, checkpointed = (load(folder, tokens, checkpointing=flag) for flag in (False, True))
    assert mean_loss(plain) == mean_loss(checkpointed)
    one, other = (
        hessian_directions(problem, 1, method="lanczos", max_iterations=30)
        for problem in (plain, checkpointed)
    )
    np.testing.assert_allclose(one.eigenvalues, other.eigenvalues, rtol=1e-4)


@pytest.mark.parametrize("logits", [100, 1])
def test_a_loss_of_parts_of_the_logits_is_that_of_transformers(
    logits, models, tokens, tmp_path, monkeypatch
):
    folder = trained(models, "llama", tmp_path)
    monkeypatch.setattr("tlp_core.problems.language_model._LOGITS", logits)
    problem = load(folder / "checkpoint-100", tokens)
    assert mean_loss(problem) == pytest.approx(loss_of(models["llama"][0], problem), rel=1e-6)


def minima_above(persistence, landscape):
    """Return the losses of the minima above a persistence, relative to the lowest."""
    branches = merge_tree(landscape.loss.ravel(), grid_graph(landscape.shape)).branches()
    births = np.sort(branches.birth[branches.persistence > persistence])
    return births - births[0]


@pytest.mark.parametrize("distance", [0.01, 1.0])
def test_autocast_leaves_the_minima_above_the_noise_that_is_told(
    distance, models, tokens, tmp_path, caplog
):
    folder = trained(models, "llama", tmp_path)
    problem = load(folder / "checkpoint-500", tokens)
    directions = random_directions(problem, 2, normalization="layer")
    exact = sample_grid(problem, directions, resolution=13, distance=distance)
    assert "autocast_noise" not in exact.provenance
    with caplog.at_level("INFO", "tlp_core"):
        rounded = sample_grid(
            convert_problem(problem, autocast="bfloat16"),
            directions,
            resolution=13,
            distance=distance,
        )
    noise = rounded.provenance["autocast_noise"]
    assert f"autocast changes losses by about {noise:.3g};" in caplog.text
    error = np.ptp(rounded.loss - exact.loss)
    assert 0.5 * error < noise < 4 * error
    if distance == 0.01:
        assert len(minima_above(0, rounded)) > len(minima_above(0, exact))
    np.testing.assert_allclose(
        minima_above(noise, rounded), minima_above(noise, exact), atol=noise, rtol=0
    )


def test_half_precision_is_converted_with_a_warning(models, tokens, tmp_path):
    folder = trained(models, "gpt2", tmp_path, half=True)
    with pytest.warns(UserWarning, match="converted from bfloat16 to float32"):
        problem = load(folder / "checkpoint-500", tokens)
    assert {p.dtype for p in problem.model.parameters()} == {torch.float32}
    with pytest.warns(UserWarning, match="converted from bfloat16 to float32"):
        load_checkpoint(problem, folder / "checkpoint-100")


def test_weights_of_torch_are_read_without_running_code(models, tokens, tmp_path):
    folder = trained(models, "llama", tmp_path) / "checkpoint-100"
    state = models["llama"][1].state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    problem = load(folder, tokens)
    assert mean_loss(problem) == pytest.approx(loss_of(models["llama"][1], problem), rel=1e-6)

    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({**state, "more": Harmful()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"must hold weights as plain tensors.*\(UnpicklingError"):
        load(folder, tokens)
    assert not (tmp_path / "made").exists()


def test_a_missing_shard_is_named(models, tokens, tmp_path):
    models["llama"][1].save_pretrained(tmp_path / "step", max_shard_size="10KB")
    missing = sorted((tmp_path / "step").glob("*.safetensors"))[1]
    missing.unlink()
    with pytest.raises(FileNotFoundError, match=f"{missing.name} must exist, because the index"):
        load(tmp_path / "step", tokens)


def test_revisions_of_a_hub_are_steps(models, tokens, tmp_path):
    cache = tmp_path / "models--lab--tiny"
    (cache / "refs").mkdir(parents=True)
    for step, digest, model in zip(STEPS, ("0a1b2c3d4e", "9f8e7d6c5b"), models["neox"]):
        model.save_pretrained(cache / "snapshots" / digest)
        (cache / "refs" / f"step{step}").write_text(digest)
    (cache / "refs" / "main").write_text("9f8e7d6c5b")
    assert [member.step for member in find_checkpoints([cache])] == list(STEPS)
    problem = load(cache, tokens)
    assert problem.name == "lab/tiny"
    assert mean_loss(problem) == pytest.approx(loss_of(models["neox"][1], problem), rel=1e-6)
    early = load(cache, tokens, revision="step100")
    assert early.name == "lab/tiny step100"
    assert mean_loss(early) == pytest.approx(loss_of(models["neox"][0], problem), rel=1e-6)
    with pytest.raises(ValueError, match=r"revision must be one of those in .*got 'step7'"):
        load(cache, tokens, revision="step7")


def test_the_last_weights_beside_the_steps_of_a_trainer_are_no_step(models, tmp_path):
    folder = trained(models, "gpt2", tmp_path)
    models["gpt2"][1].save_pretrained(folder)
    assert [member.path.name for member in find_checkpoints([folder])] == [
        "checkpoint-100",
        "checkpoint-500",
    ]
    file = folder / "checkpoint-100" / "model.safetensors"
    assert find_checkpoints([file])[0].path == file.parent


def test_a_checkpoint_is_recognised_by_its_weights(models, tmp_path):
    folder = trained(models, "gpt2", tmp_path, shards=True)
    one, other = folder / "checkpoint-100", folder / "checkpoint-500"
    copy = shutil.copytree(one, tmp_path / "copy")
    (copy / "optimizer.pt").unlink()
    assert hash_checkpoint(one) == hash_checkpoint(copy) != hash_checkpoint(other)


def test_a_checkpoint_of_another_network_is_reported(models, tokens, tmp_path):
    folder = trained(models, "llama", tmp_path)
    wider = transformers.LlamaConfig(**{**COMMON, "hidden_size": 32}, num_key_value_heads=1)
    transformers.AutoModelForCausalLM.from_config(wider).save_pretrained(tmp_path / "wide")
    problem = load(folder / "checkpoint-100", tokens)
    (tmp_path / "wide" / "config.json").unlink()
    with pytest.raises(ValueError, match="wide must hold"):
        load_checkpoint(problem, tmp_path / "wide")
    deeper = transformers.LlamaConfig(**{**COMMON, "num_hidden_layers": 1}, num_key_value_heads=1)
    transformers.AutoModelForCausalLM.from_config(deeper).save_pretrained(tmp_path / "shallow")
    (tmp_path / "shallow" / "config.json").unlink()
    with pytest.raises(ValueError, match="must hold all weights of the model, and lacks 9"):
        load_checkpoint(problem, tmp_path / "shallow")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="must hold weights, found none in"):
        load_checkpoint(problem, tmp_path / "empty")


def test_sequences_follow_the_options(models, tokens, tmp_path):
    folder = trained(models, "gpt2", tmp_path) / "checkpoint-100"
    problem = load(folder, tokens, tokens=80)
    assert [tuple(batch.shape) for batch in problem.batches] == [(4, 8), (4, 8), (2, 8)]
    assert hash_batches(problem) == hash_batches(load(folder, tokens, tokens=80))
    assert hash_batches(problem) != hash_batches(load(folder, tokens, tokens=80, seed=1))
    array = np.load(tokens)
    rows = {tuple(row) for row in array.reshape(-1, 8).tolist()}
    assert all(tuple(row) in rows for batch in problem.batches for row in batch.tolist())
    assert problem.metrics(problem.model).keys() == {"validation loss"}
    assert not load(folder, tokens, held_out=0).metrics(problem.model)
    held_out = array.reshape(-1, 8)[-50:]
    everything = load(folder, tokens, tokens=4000)
    used = {tuple(row) for batch in everything.batches for row in batch.tolist()}
    assert not used & {tuple(row) for row in held_out.tolist()}
    np.save(tmp_path / "rows.npy", array.reshape(-1, 10))
    (first, *_) = load(folder, str(tmp_path / "rows.npy"), held_out=0, tokens=4000).batches
    assert first.tolist() == array.reshape(-1, 10)[:4, :8].tolist()


def test_a_text_is_read_by_the_models_tokenizer(models, tmp_path):
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel

    folder = trained(models, "gpt2", tmp_path) / "checkpoint-100"
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    (tmp_path / "text.txt").write_text("the a of to " * 8)
    (batch,) = load(folder, str(tmp_path / "text.txt"), held_out=0).batches
    assert batch.tolist() == [[1, 3, 2, 4] * 2] * 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"length": 1}, ValueError, "length must be >= 2, got 1"),
        ({"tokens": 4}, ValueError, "tokens must be >= 8, got 4"),
        ({"held_out": 1}, ValueError, "held_out must be from 0 to below 1, got 1"),
        ({"attention": "fast"}, ValueError, "attention must be one of eager, sdpa"),
        ({"revision": "main"}, ValueError, "revision must be one of those in .* \\(none\\)"),
        ({"text": "none.npy"}, FileNotFoundError, "text must be a file, found no file 'none.npy'"),
        ({"length": 2.5}, TypeError, "length must be an integer, got 2.5"),
    ],
)
def test_bad_options_are_reported(options, error, message, models, tokens, tmp_path):
    folder = trained(models, "gpt2", tmp_path) / "checkpoint-100"
    with pytest.raises(error, match=message):
        load(folder, tokens, **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.full(100, 32), "tokens must be from 0 to 31, the vocabulary of the model, got 32"),
        (np.zeros(7, dtype=int), "must have at least 8 tokens, got 7"),
        (
            np.zeros((9, 7), dtype=int),
            "each sequence of the array must have at least 8 tokens, got",
        ),
        (np.zeros(100), "must hold integers of shape .* got float64"),
        (np.zeros((2, 2, 2), dtype=int), "must hold integers of shape"),
        (b"nothing", "must be an array of tokens in NumPy's format, and is damaged"),
    ],
)
def test_bad_tokens_are_reported(content, message, models, tmp_path):
    folder = trained(models, "gpt2", tmp_path) / "checkpoint-100"
    path = tmp_path / "tokens.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(ValueError, match=message):
        load(folder, str(path))


def test_the_sequences_of_a_further_loss_do_not_depend_on_the_others(models, tmp_path):
    folder = trained(models, "gpt2", tmp_path) / "checkpoint-100"
    rng = np.random.default_rng(0)
    paths = {name: str(tmp_path / f"{name}.npy") for name in "abc"}
    for path in paths.values():
        np.save(path, rng.integers(0, 32, 400))
    found = []
    for names in ("b", "ab", "cb"):
        losses = {name: paths[name] for name in names}
        problem = load(folder, paths["a"], length=8, tokens=48, losses=losses)
        found.append(torch.cat(problem.other_batches["b"]))
    assert all(torch.equal(found[0], each) for each in found[1:])


def test_long_sequences_of_an_array_are_cut_into_pieces_of_the_length(models, tmp_path):
    folder = trained(models, "gpt2", tmp_path) / "checkpoint-100"
    pieces = np.random.default_rng(0).integers(0, 32, (6, 8))
    losses = []
    for name, array in (
        ("pieces", pieces),
        ("rows", pieces.reshape(2, 24)),
        ("text", pieces.ravel()),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        losses.append(mean_loss(load(folder, str(tmp_path / f"{name}.npy"), length=8, tokens=48)))
    assert losses[0] == losses[1] == losses[2]


def test_a_large_array_of_sequences_stays_on_the_disk(tmp_path):
    """Also if its rows are no multiple of the length, as 2,048 tokens and a target are."""
    np.save(tmp_path / "rows.npy", np.arange(3 * 17).reshape(3, 17))
    found = _sequences(str(tmp_path / "rows.npy"), place=tmp_path, length=8)
    assert found[2, 1].tolist() == list(range(42, 50))
    base = found
    while getattr(base, "base", None) is not None:
        base = base.base
    assert isinstance(base, mmap.mmap)


def test_a_hubs_cache_without_main_names_its_revisions(tmp_path):
    cache = tmp_path / "models--a--b"
    for step in (1, 2):
        (cache / "snapshots" / f"hash{step}").mkdir(parents=True)
        (cache / "refs").mkdir(exist_ok=True)
        (cache / "refs" / f"step{step}").write_text(f"hash{step}")
    with pytest.raises(
        ValueError, match="must have a revision main, or only one, got step1, step2"
    ):
        model_folder(cache)


def test_a_folder_without_a_model_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="hf: must name a folder with a model"):
        load_problem(f"hf:{tmp_path / 'none'}")
    with pytest.raises(FileNotFoundError, match=r"found no config\.json"):
        load_problem(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="must hold a causal language model"):
        load_problem(f"hf:{tmp_path}")


def test_no_code_of_a_checkpoint_runs_even_if_the_user_would_agree(
    models, tokens, tmp_path, monkeypatch
):
    folder = trained(models, "llama", tmp_path) / "checkpoint-100"
    made = tmp_path / "made"
    (folder / "own.py").write_text(f"open({str(made)!r}, 'w')\n")
    content = json.loads((folder / "config.json").read_text())
    content |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModel": "own.M"}}
    (folder / "config.json").write_text(json.dumps(content))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ValueError, match="no code of a checkpoint is run; load it in a problem"):
        load(folder, tokens)
    assert not made.exists()


def test_filters_of_gpt2s_linear_layers_are_their_outputs(models, tokens, tmp_path):
    problem = load(trained(models, "gpt2", tmp_path) / "checkpoint-100", tokens)
    (vector,) = random_directions(problem, 1, normalization="filter").vectors
    weights = {name: p.detach() for name, p in problem.model.named_parameters() if p.ndim == 2}
    assert any(weight.shape[0] != weight.shape[1] for weight in weights.values())
    for name, weight in weights.items():
        axis = 1 if name in ("transformer.wte.weight", "transformer.wpe.weight") else 0
        torch.testing.assert_close(vector[name].norm(dim=axis), weight.norm(dim=axis))


def test_weights_are_those_of_the_file_whatever_its_configuration_says(models, tokens, tmp_path):
    folder = trained(models, "llama", tmp_path)
    for step in STEPS:  # float32 files, which the configuration calls float16
        file = folder / f"checkpoint-{step}" / "config.json"
        content = json.loads(file.read_text())
        file.write_text(json.dumps(content | {"dtype": "float16", "torch_dtype": "float16"}))
    problem = load(folder / "checkpoint-100", tokens)
    for step, model in zip(STEPS, models["llama"]):
        load_checkpoint(problem, folder / f"checkpoint-{step}")
        found = problem.model.state_dict()
        assert all(torch.equal(found[name], wanted) for name, wanted in model.state_dict().items())


def test_steps_in_float32_after_one_in_half_precision_are_not_rounded(models, tokens, tmp_path):
    early = trained(models, "llama", tmp_path / "half", half=True) / "checkpoint-100"
    late = trained(models, "llama", tmp_path / "full") / "checkpoint-500"
    with pytest.warns(UserWarning, match="converted from bfloat16 to float32"):
        problem = load(early, tokens)
    load_checkpoint(problem, late)
    found = problem.model.state_dict()
    wanted = models["llama"][1].state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_double_precision_stays(models, tokens, tmp_path):
    model = transformers.AutoModelForCausalLM.from_config(llama_config()).double()
    model.save_pretrained(tmp_path / "double")
    problem = load(tmp_path / "double", tokens)
    found = problem.model.state_dict()
    assert all(torch.equal(found[name], wanted) for name, wanted in model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 3}, "num_hidden_layers = 3 instead of 2"),
        ({"num_attention_heads": 4}, "head_dim = 4 instead of 8"),
        ({"rms_norm_eps": 0.1}, "rms_norm_eps = 0.1 instead of 1e-06"),
    ],
)
def test_a_step_of_another_configuration_is_refused(changes, message, models, tokens, tmp_path):
    problem = load(trained(models, "llama", tmp_path) / "checkpoint-100", tokens)
    other = transformers.AutoModelForCausalLM.from_config(llama_config(**changes))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=f"must have the configuration of the model.*{message}"):
        load_checkpoint(problem, tmp_path / "other")


def test_a_step_may_differ_in_settings_that_leave_the_loss(models, tokens, tmp_path):
    folder = trained(models, "llama", tmp_path)
    problem = load(folder / "checkpoint-100", tokens)
    file = folder / "checkpoint-500" / "config.json"
    content = json.loads(file.read_text())
    content |= {"attention_dropout": 0.3, "transformers_version": "4.0.0", "pad_token_id": 3}
    file.write_text(json.dumps(content))
    load_checkpoint(problem, folder / "checkpoint-500")
    assert mean_loss(problem) == pytest.approx(loss_of(models["llama"][1], problem), rel=1e-6)


def test_weights_that_the_model_has_not_are_told_or_refused(models, tokens, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = trained(models, "llama", tmp_path)
    files = [folder / f"checkpoint-{step}" / "model.safetensors" for step in STEPS]

    def add(file, name):
        save_file({**load_file(file), name: torch.zeros(3)}, file, metadata={"format": "pt"})

    add(files[1], "value_head")
    problem = load(folder / "checkpoint-100", tokens)
    with pytest.raises(ValueError, match=r"the model only, and has 1 others.*value_head"):
        load_checkpoint(problem, folder / "checkpoint-500")
    add(files[0], "value_head")
    with pytest.warns(UserWarning, match="1 weights in .* are ignored, first value_head"):
        problem = load(folder / "checkpoint-100", tokens)
    load_checkpoint(problem, folder / "checkpoint-500")
    assert mean_loss(problem) == pytest.approx(loss_of(models["llama"][1], problem), rel=1e-6)


def test_a_file_has_tied_weights_under_one_of_their_names(models, tokens, tmp_path):
    from safetensors.torch import save_model

    problem = load(trained(models, "llama", tmp_path) / "checkpoint-100", tokens)
    save_model(models["llama"][1], str(tmp_path / "late.safetensors"))
    load_checkpoint(problem, tmp_path / "late.safetensors")
    assert mean_loss(problem) == pytest.approx(loss_of(models["llama"][1], problem), rel=1e-6)
    half = {name: tensor.half() for name, tensor in models["llama"][0].state_dict().items()}
    torch.save(half, tmp_path / "half.pt")
    with pytest.warns(UserWarning, match="converted from float16 to float32"):
        load_checkpoint(problem, tmp_path / "half.pt")


def test_a_hubs_cache_is_a_checkpoint(models, tokens, tmp_path):
    cache = tmp_path / "models--lab--tiny"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0a1b2c")
    models["llama"][1].save_pretrained(cache / "snapshots" / "0a1b2c")
    problem = load(trained(models, "llama", tmp_path / "run") / "checkpoint-100", tokens)
    load_checkpoint(problem, cache)
    assert mean_loss(problem) == pytest.approx(loss_of(models["llama"][1], problem), rel=1e-6)


def test_sequences_longer_than_the_positions_of_a_model_are_refused(models, tokens, tmp_path):
    folder = trained(models, "gpt2", tmp_path) / "checkpoint-100"
    assert np.isfinite(mean_loss(load(folder, tokens, length=33)))
    with pytest.raises(ValueError, match=r"length must be at most 33, the 32 positions .* got 34"):
        load(folder, tokens, length=34)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"text": 5}, TypeError, "a text must be the path of a file, got 5"),
        ({"losses": "t.npy"}, TypeError, "losses must be texts by name, such as .* got 't.npy'"),
        ({"losses": {"code": 5}}, TypeError, "a text must be the path of a file, got 5"),
        ({"text": ""}, ValueError, "a text needs the tokenizer of the model.*tokens.npy"),
    ],
)
def test_texts_of_a_wrong_kind_are_reported(options, error, message, models, tokens, tmp_path):
    folder = trained(models, "gpt2", tmp_path) / "checkpoint-100"
    with pytest.raises(error, match=message):
        load(folder, **{"text": tokens, **options})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_groups_of_every_layout_are_its_blocks_and_their_parts(layout, models):
    model = models[layout][0]
    groups = parameter_groups(model)
    parts = [f"block {i}{part}" for i in range(2) for part in ("", " attention", " feed-forward")]
    assert list(groups) == ["embedding", *parts]
    chosen = {}
    for group, pattern in groups.items():
        with select_parameters(model, pattern):
            chosen[group] = set(trainable_parameters(model))
    for i in range(2):
        inside = chosen[f"block {i} attention"] | chosen[f"block {i} feed-forward"]
        rest = chosen[f"block {i}"] - inside
        assert inside < chosen[f"block {i}"]
        assert all("norm" in name or ".ln_" in name for name in rest)
    assert not chosen["block 0"] & chosen["block 1"]


def test_differences_with_fast_attention_give_the_eigenvectors_of_eager(models, tokens, tmp_path):
    folder = trained(models, "llama", tmp_path) / "checkpoint-100"
    eager, fast = (load(folder, tokens, attention=kind) for kind in ("eager", "sdpa"))
    options = {"method": "lanczos", "max_iterations": 30, "parameters": LAST_BLOCK}
    one = hessian_directions(eager, 1, **options)
    other = hessian_directions(fast, 1, product="finite-difference", **options)
    np.testing.assert_allclose(one.eigenvalues, other.eigenvalues, rtol=1e-2)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_before_the_first_that_moves_run_once(
    layout, attention, models, tokens, tmp_path, monkeypatch
):
    monkeypatch.setattr("tlp_core.kept_outputs._SMALL_MODEL", 0)
    folder = trained(models, layout, tmp_path) / "checkpoint-100"
    problem = load(folder, tokens, attention=attention)
    blocks = max((m for m in problem.model.modules() if isinstance(m, nn.ModuleList)), key=len)
    directions = random_directions(problem, 2, parameters=LAST_BLOCK, normalization="layer")
    calls, kind = [0, 0], type(blocks[0])
    forward = kind.forward

    def counted(block, *args, **kwargs):
        calls[block is blocks[1]] += 1
        return forward(block, *args, **kwargs)

    monkeypatch.setattr(kind, "forward", counted)
    with use_threads(1):  # several workers would have copies of the model, and keep nothing
        kept = sample_grid(problem, directions, resolution=9, distance=0.1, engine="single")
    assert calls[1] > 81 * len(problem.batches) > 4 * calls[0]
    monkeypatch.undo()
    plain = sample_grid(problem, directions, resolution=9, distance=0.1, engine="single")
    assert np.array_equal(kept.loss, plain.loss)


def test_a_path_between_two_models_has_all_losses(models, tokens, tmp_path):
    from tlp_core.cli.main import main

    folder = trained(models, "llama", tmp_path)
    other = {"other": tokens}
    code = main(
        [
            *("path", f"hf:{folder / 'checkpoint-100'}"),
            *("-a", f"text={tokens!r}, length=8, tokens=64, batch=4, losses={other}"),
            *("--to", str(folder / "checkpoint-500"), "--points", "5"),
            *("-o", str(tmp_path / "path.csv"), "--quiet"),
        ]
    )
    assert code == 0
    header, *rows = (tmp_path / "path.csv").read_text().splitlines()
    assert header == "position,loss,other"
    found = np.array([[float(value) for value in row.split(",")] for row in rows])
    for row, model in ((found[0], models["llama"][0]), (found[-1], models["llama"][1])):
        problem = load(folder / "checkpoint-100", tokens)
        assert row[1] == pytest.approx(loss_of(model, problem), rel=1e-6)
