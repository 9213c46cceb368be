"""The README's examples of users' own models, run on small data."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch

from tlp_core import Landscape
from tlp_core.cli.main import main

README = Path(__file__).resolve().parents[1] / "README.md"
WORDS = ("the", "a", "cat", "dog", "sees", "and", "sleeps", "[UNK]")
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def example(tmp_path, name):
    """Write the README's example whose problem has this name to a file, and return its path."""
    (code,) = [block for block in BLOCKS if f'name="{name}"' in block]
    path = tmp_path / "my_net.py"
    path.write_text(code, encoding="utf-8")
    return str(path)


def sampled(tmp_path, problem, *options):
    store = tmp_path / "my_net.zarr"
    assert main(["sample", problem, "-o", str(store), "-r", "3", "-d", "0.1", "-q", *options]) == 0
    landscape = Landscape.open(store)
    assert landscape.is_complete
    assert (landscape.loss > 0).all()
    return landscape


def test_a_classifier_with_a_data_loader(tmp_path):
    torch.manual_seed(0)
    x, y = torch.randn(700, 6), torch.randint(10, (700,))
    torch.save({"x": x, "y": y}, tmp_path / "digits.pt")
    problem = example(tmp_path, "digits")
    layers = (torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
    model = torch.nn.Sequential(*layers)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    data = f"data={tmp_path / 'digits.pt'}, hidden=8"
    landscape = sampled(tmp_path, problem, "-a", data, "-c", str(tmp_path / "weights.pt"))
    expected = torch.nn.functional.cross_entropy(model(x), y).item()
    assert landscape.center == pytest.approx(expected, rel=1e-5)


def test_a_network_with_derivatives_of_its_inputs(tmp_path):
    problem = example(tmp_path, "heat equation")
    one = sampled(tmp_path, problem, "-a", "points=10", "--engine", "single")
    (tmp_path / "my_net.zarr").rename(tmp_path / "one.zarr")
    many = sampled(tmp_path, problem, "-a", "points=10", "--engine", "batched", "--batch", "9")
    assert many.loss == pytest.approx(one.loss, rel=1e-4)


def test_a_language_model_from_a_local_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = {
        word: i
        for i, word in enumerate(["the", "a", "cat", "dog", "sees", "and", "sleeps", "[UNK]"])
    }
    kind = tokenizers.models.WordLevel(words, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(kind)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    folder = tmp_path / "my_model"
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(words), n_positions=16, n_embd=8, n_layer=1, n_head=2
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    (tmp_path / "text.txt").write_text("the cat sees the dog and a dog sleeps " * 5)
    problem = example(tmp_path, "language model")
    arguments = f"folder={folder}, text={tmp_path / 'text.txt'}, length=12"
    landscape = sampled(tmp_path, problem, "-a", arguments)
    assert landscape.center == pytest.approx(torch.log(torch.tensor(8.0)).item(), rel=0.2)
    block = ["--parameters", "transformer.h.0.*"]
    (tmp_path / "my_net.zarr").rename(tmp_path / "whole.zarr")
    part = sampled(tmp_path, problem, "-a", arguments, *block)
    assert part.center == landscape.center
    assert part.provenance["parameters"] == "transformer.h.0.*"


def test_the_numbers_alone(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (code,) = [block for block in BLOCKS if "describe(tree)" in block]
    exec(code, {})
    assert capsys.readouterr().out == "2\n"
    assert "average loss" in (tmp_path / "profile.svg").read_text()


def test_a_training_with_a_recorder_has_a_page(tmp_path, monkeypatch):
    pytest.importorskip("plotly")
    (code,) = [block for block in BLOCKS if "LandscapeRecorder(" in block]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    steps = [int(path.stem.removeprefix("step_")) for path in Path("landscapes").glob("*.zarr")]
    assert sorted(steps) == [0, 50, 100, 150, 200]
    centers = [Landscape.open(f"landscapes/step_{step}.zarr").center for step in sorted(steps)]
    assert centers[-1] < 0.5 * centers[0]
    assert main(["report", "landscapes", "-o", "report.html"]) == 0


def test_the_notebook_runs_and_shows_a_profile(tmp_path, monkeypatch):
    """Each cell, with the value of its last expression as a notebook shows it."""
    pytest.importorskip("plotly")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((README.parent / "state_files" / "notebook.ipynb").read_text("utf-8"))
    names, shown = {}, []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            body = ast.parse("".join(cell["source"])).body
            last = body.pop() if isinstance(body[-1], ast.Expr) else None
            exec(compile(ast.Module(body, []), "notebook.ipynb", "exec"), names)
            if last is not None:
                shown.append(
                    eval(compile(ast.Expression(last.value), "notebook.ipynb", "eval"), names)
                )
    profile, numbers, steps = shown
    assert "<img" in profile._repr_html_()
    assert numbers["number_of_samples"] == 441
    assert steps == 5
    assert (tmp_path / "report.html").stat().st_size > 1_000_000
