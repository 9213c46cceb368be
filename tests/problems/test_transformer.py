import math

import numpy as np
import pytest
import torch

from tests.oracles import assert_gradient
from tlp_core import load_problem
from tlp_core.problem import mean_loss
from tlp_core.problems import transformer


def plain_logits(model, tokens, *, causal, heads):
    """The same network in NumPy, as loops over sequences, heads and positions."""
    state = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}

    def normed(x, name):
        if f"{name}.weight" not in state:
            return x
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-5) * state[f"{name}.weight"] + state[
            f"{name}.bias"
        ]

    answers = []
    for sequence in tokens.numpy():
        x = state["tokens.weight"][sequence] + state["positions"][: len(sequence)]
        for i in range(len(model.blocks)):
            block = f"blocks.{i}"
            inner = normed(x, f"{block}.norm_attention")
            width = x.shape[1]
            parts = inner @ state[f"{block}.attention.queries_keys_values.weight"].T
            queries, keys, values = np.split(parts, 3, axis=1)
            mixed = np.zeros_like(x)
            size = width // heads
            for head in range(heads):
                own = slice(head * size, (head + 1) * size)
                for t in range(len(sequence)):
                    seen = t + 1 if causal else len(sequence)
                    scores = keys[:seen, own] @ queries[t, own] / math.sqrt(size)
                    weights = np.exp(scores - scores.max())
                    mixed[t, own] = weights / weights.sum() @ values[:seen, own]
            x = x + mixed @ state[f"{block}.attention.out.weight"].T
            inner = normed(x, f"{block}.norm_feed")
            hidden = inner @ state[f"{block}.feed.0.weight"].T + state[f"{block}.feed.0.bias"]
            if isinstance(model.blocks[i].feed[1], torch.nn.GELU):
                erf = np.vectorize(math.erf)
                hidden = hidden * (1 + erf(hidden / math.sqrt(2))) / 2
            else:
                hidden = np.maximum(hidden, 0)
            x = x + hidden @ state[f"{block}.feed.2.weight"].T + state[f"{block}.feed.2.bias"]
        answers.append(normed(x, "norm") @ state["unembed.weight"].T)
    return np.stack(answers)


def cross_entropy(logits, answers):
    shifted = logits - logits.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -np.take_along_axis(logs, answers[..., None], -1).mean()


def small_gpt():
    return transformer.character_gpt(width=8, layers=2, heads=2, length=6, sequences=3, seed=1)


def test_the_loss_of_the_gpt_is_the_plain_one():
    problem = small_gpt()
    (batch,) = problem.batches
    logits = plain_logits(problem.model, batch[:, :-1], causal=True, heads=2)
    assert mean_loss(problem) == pytest.approx(
        cross_entropy(logits, batch[:, 1:].numpy()), rel=1e-5
    )


def test_the_loss_of_modular_addition_is_the_plain_one():
    problem = transformer.modular_addition(p=5, width=8, heads=2, seed=2)
    ((tokens, answers),) = problem.batches
    assert (answers == tokens[:, :2].sum(1) % 5).all()
    logits = plain_logits(problem.model, tokens, causal=True, heads=2)[:, -1]
    assert mean_loss(problem) == pytest.approx(cross_entropy(logits, answers.numpy()), rel=1e-5)


@pytest.mark.parametrize("make", [small_gpt, lambda: transformer.modular_addition(p=5, width=8)])
def test_the_gradient_is_that_of_finite_differences(make):
    assert_gradient(make())


def test_known_and_unknown_pairs_are_all_pairs_and_seeds_choose_them():
    problem = transformer.modular_addition(p=7, train_fraction=0.3, seed=3)
    ((tokens, _),) = problem.batches
    assert len(tokens) == round(0.3 * 49)
    assert len(torch.unique(tokens, dim=0)) == len(tokens)
    again = transformer.modular_addition(p=7, train_fraction=0.3, seed=3)
    assert (next(iter(again.batches))[0] == tokens).all()
    other = transformer.modular_addition(p=7, train_fraction=0.3, seed=4)
    assert not (next(iter(other.batches))[0] == tokens).all()


def test_test_pairs_are_those_whose_mirror_was_not_trained_on():
    """A network that ignores the order of a and b knows every other test pair."""
    problem = transformer.modular_addition(p=7, train_fraction=0.5, seed=3)
    ((tokens, _),) = problem.batches
    known = {tuple(pair) for pair in tokens[:, :2].tolist()}
    known |= {(b, a) for a, b in known}

    class Remembers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.parameter = torch.nn.Parameter(torch.zeros(()))

        def forward(self, tokens):
            logits = torch.zeros(len(tokens), 3, 7)
            for row, (a, b) in enumerate(tokens[:, :2].tolist()):
                logits[row, -1, (a + b) % 7 if (a, b) in known else (a + b + 1) % 7] = 1
            return logits

    metrics = problem.metrics(Remembers())
    assert metrics["training accuracy"] == metrics["mirrored test accuracy"] == 1
    assert metrics["test accuracy"] == 0


def test_the_loss_of_large_logits_is_not_rounded():
    """In float32, a log-softmax of logits beyond 2^24 ulp is zero; float64 keeps it."""
    problem = transformer.modular_addition(p=7, width=8)
    ((tokens, answers),) = problem.batches

    class Certain(torch.nn.Module):
        def forward(self, tokens):
            return 20 * torch.nn.functional.one_hot(answers, 7).float()[:, None]

    loss = problem.loss(Certain(), (tokens, answers))
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(6 * np.exp(-20.0), rel=1e-6)


def test_the_published_network_has_its_size():
    model = transformer.modular_addition().model
    assert sum(p.numel() for p in model.parameters()) == 226_688
    with pytest.raises(ValueError, match="width must be a multiple of heads, got 10 and 4"):
        transformer.modular_addition(width=10)


def test_training_lowers_the_loss():
    problem = transformer.modular_addition(p=7, width=16, heads=2, train_fraction=0.8)
    optimizer = transformer.adam_optimizer(problem, learning_rate=1e-2, weight_decay=0.0)
    losses = [loss for _, loss in transformer.adam_steps(problem, optimizer, 60)]
    assert losses[-1] < losses[0] / 2


def test_a_folder_without_a_model_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="hf: must name a folder with a model"):
        load_problem(f"hf:{tmp_path / 'none'}")
    with pytest.raises(FileNotFoundError, match="text must be a file"):
        transformer.character_gpt(text=str(tmp_path / "no.txt"))
