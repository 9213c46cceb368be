"""Options that several commands share, and the settings records that they make."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from tlp_core.analysis.tree_settings import TreeSettings
from tlp_core.choices import (
    AUTOCASTS,
    BATCH_NORMS,
    DIRECTION_METHODS,
    DTYPES,
    ENGINES,
    GRID_RULES,
    HESSIAN_METHODS,
    HESSIAN_PRODUCTS,
    NORMALIZATIONS,
    REGIONS,
    SPECTRUM_ORDERS,
    DirectionMethod,
)
from tlp_core.directions.settings import DirectionSettings
from tlp_core.pipeline.settings import LandscapeSettings
from tlp_core.problems import HUGGING_FACE
from tlp_core.problems.settings import ProblemSettings, parse_arguments
from tlp_core.sampling.settings import (
    GIBIBYTE,
    EvaluationSettings,
    GridSettings,
    RunSettings,
    SampleSettings,
    ScatterSettings,
)

_HESSIAN = ("product", "order", "max_iterations", "tolerance")
"""Options of Hessian eigenvectors."""

Parsers = Any
"""What ``ArgumentParser.add_subparsers`` returns; argparse has no public name for it."""


def add_output(command: argparse.ArgumentParser, text: str) -> None:
    """Add the path of the result."""
    command.add_argument("-o", "--output", required=True, type=_path, metavar="PATH", help=text)


def add_command(
    commands: Parsers, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Add a command whose description is its help text as a sentence, and return its parser.

    Args:
        commands: the commands of ``tlp``.
        name: name of the command.
        run: called with the options; returns the exit code.
        text: help text, without a capital letter or a full stop.
    """
    description = f"{text.capitalize()}."
    command: argparse.ArgumentParser
    command = commands.add_parser(name, help=text, description=description)
    command.set_defaults(run=run)
    return command


def add_json(command: argparse.ArgumentParser) -> None:
    """Add the option of a JSON result."""
    command.add_argument("--json", action="store_true", help="print the result as a line of JSON")


def add_quiet(command: argparse.ArgumentParser) -> None:
    """Add the option that silences the log."""
    command.add_argument(
        "-q", "--quiet", action="store_true", help="do not report the measured engines"
    )


def add_problem_only(command: argparse.ArgumentParser, *, with_checkpoint: bool = True) -> None:
    """Add the options of the problem."""
    command.add_argument("problem", help="ready name, FILE.py, FILE.py:FUNCTION or hf:FOLDER")
    command.add_argument(
        "-a",
        "--arguments",
        default="",
        help="keyword arguments of the problem, such as 'beta=30, layers=[64, 64]'",
    )
    if with_checkpoint:
        command.add_argument("-c", "--checkpoint", default="", help="file of the weights")
    command.add_argument("--dtype", choices=DTYPES, help="precision (default: the model's)")
    command.add_argument(
        "--autocast",
        choices=AUTOCASTS,
        help="precision of the forward pass (default: that of the parameters)",
    )
    command.add_argument(
        "--device", default="", help="cpu, cuda, cuda:1 or mps (default: the model's)"
    )


def add_problem(command: argparse.ArgumentParser, *, with_checkpoint: bool = True) -> None:
    """Add the options of problem and directions."""
    add_problem_only(command, with_checkpoint=with_checkpoint)
    command.add_argument(
        "-n",
        "--directions",
        type=int,
        default=2,
        help="number of directions (default: 2, or one for each of the --solutions)",
    )
    command.add_argument(
        "--method",
        choices=DIRECTION_METHODS,
        help="how directions are made (default: pyhessian; lanczos for hf:, as it needs fewer "
        "products)",
    )
    command.add_argument(
        "--product",
        choices=HESSIAN_PRODUCTS,
        default="autograd",
        help="how Hessian products are made (default: autograd)",
    )
    command.add_argument(
        "--order",
        choices=SPECTRUM_ORDERS,
        default="magnitude",
        help="order of the Hessian eigenvalues (default: magnitude)",
    )
    command.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        default="none",
        help="length of the directions (default: none, unit length)",
    )
    command.add_argument(
        "--parameters",
        metavar="PATTERN",
        help="names of the parameters to move, such as 'layers.3.*' (default: all)",
    )
    command.add_argument(
        "--solutions",
        nargs="+",
        default=[],
        metavar="FILE",
        help="checkpoints that the methods trajectory and checkpoints use",
    )
    command.add_argument(
        "--max-iterations",
        type=int,
        default=200,
        help="iterations of the eigenvector search (default: 200)",
    )
    command.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        help="relative tolerance of the eigenvector search (default: 1e-4)",
    )
    command.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    command.add_argument(
        "--shards",
        type=int,
        default=1,
        metavar="G",
        help="ranks of torchrun that hold one model together (default: 1)",
    )
    add_json(command)


def add_samples(command: argparse.ArgumentParser, resolution: str) -> None:
    """Add the options of samples, evaluation and run.

    Args:
        command: the parser.
        resolution: help text of the resolution.
    """
    command.add_argument("-r", "--resolution", type=_integers, default=[41], help=resolution)
    command.add_argument(
        "-d",
        "--distance",
        type=float,
        default=1.0,
        help="half-width of the range of α (default: 1)",
    )
    command.add_argument(
        "--rise",
        type=float,
        metavar="LOSS",
        help="half-width along each direction where the loss has risen by this amount, instead of "
        "--distance",
    )
    command.add_argument(
        "--nearest",
        type=float,
        metavar="FRACTION",
        help="geometric spacing: distance of the samples beside the centre as a fraction of the "
        "half-width, such as 0.001 (default: even spacing)",
    )
    command.add_argument(
        "--scattered", type=int, metavar="N", help="sample N Sobol points instead of a grid"
    )
    command.add_argument(
        "--region", choices=REGIONS, default="box", help="of scattered points (default: box)"
    )
    command.add_argument(
        "--engine",
        choices=ENGINES,
        help="how losses are evaluated; fastest: measure (default: by the counted work)",
    )
    command.add_argument(
        "--batch", type=int, help="number of samples in one call (default: by the counted work)"
    )
    command.add_argument(
        "--memory", type=float, default=1.0, help="GiB that a batch may use (default: 1)"
    )
    command.add_argument(
        "--batch-norm",
        choices=BATCH_NORMS,
        default="stored",
        help="statistics of batch norm (default: stored)",
    )
    command.add_argument(
        "--batch-losses",
        action="store_true",
        help="keep the losses on the single batches, which tell which basins are noise",
    )
    command.add_argument(
        "--part", type=_part, metavar="K/M", help="evaluate the k-th of m parts, for job arrays"
    )
    command.add_argument(
        "--time-budget",
        type=float,
        metavar="SECONDS",
        help="time after which the sampling of a landscape stops",
    )
    add_quiet(command)


def add_tree(command: argparse.ArgumentParser) -> None:
    """Add the options of the merge tree."""
    command.add_argument(
        "--rule",
        choices=GRID_RULES,
        default="diagonal",
        help="which samples are neighbours (default: diagonal)",
    )
    command.add_argument(
        "--loss", default="", metavar="NAME", help="one of the further losses (default: the loss)"
    )
    command.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        help="smallest persistence that stays, as a fraction of the range of the losses "
        "(default: 0)",
    )
    command.add_argument(
        "--log-loss",
        action="store_true",
        help="measure persistence on log10 of the loss: a basin at a loss of 1e-5 counts as one at "
        "a loss of 1",
    )
    command.add_argument(
        "--significance",
        type=float,
        metavar="RATE",
        help="leave out basins that may be noise of the batches, at this false discovery rate; "
        "needs a landscape sampled with --batch-losses",
    )


def tree_settings(options: argparse.Namespace) -> TreeSettings:
    """Return the settings of :func:`add_tree`."""
    return TreeSettings(
        options.rule, options.threshold, options.loss, options.log_loss, options.significance
    )


def method_of(options: argparse.Namespace) -> DirectionMethod:
    """Return how directions are made: by the option, else by the problem."""
    if options.method is not None:
        return options.method  # type: ignore[no-any-return]
    return "lanczos" if options.problem.startswith(HUGGING_FACE) else "pyhessian"


def refuse_ignored(options: argparse.Namespace) -> None:
    """Check that no option was given which the other options make meaningless.

    Raises:
        ValueError: if one was.
    """
    method, scattered = method_of(options), getattr(options, "scattered", None) is not None
    ignored: dict[str, tuple[str, ...]] = {}
    if getattr(options, "directions_file", ""):
        own = ("directions", "method", "normalization", "parameters", *_HESSIAN, "solutions")
        ignored["--directions-file"] = own
    elif method not in HESSIAN_METHODS:
        ignored[f"--method {method}"] = _HESSIAN
    if method not in ("trajectory", "checkpoints"):
        ignored.setdefault(f"--method {method}", ())
        ignored[f"--method {method}"] += ("solutions",)
    if not scattered and not getattr(options, "trace_vectors", 0):  # the seed draws these, too
        for reason in ("--directions-file", "--method trajectory", "--method checkpoints"):
            if reason in ignored:
                ignored[reason] += ("seed",)
    solutions = len(options.solutions)
    if method == "checkpoints" and options.directions not in (
        options.defaults["directions"],
        solutions,
    ):
        raise ValueError(
            f"--directions must be the number of the solutions, {solutions}, with --method "
            f"checkpoints, got {options.directions}"
        )
    if hasattr(options, "scattered"):
        what = "--scattered" if scattered else "a grid"
        ignored[what] = ("resolution", "nearest") if scattered else ("region",)
        if options.rise is not None:
            ignored["--rise"] = ("distance",)
    for reason, names in ignored.items():
        for name in names:
            if getattr(options, name) != options.defaults[name]:
                option = name.replace("_", "-")
                raise ValueError(f"--{option} has no meaning with {reason}; omit one of them")


def problem_and_directions(options: argparse.Namespace) -> LandscapeSettings:
    """Return the settings of problem and directions; the others have their defaults.

    Raises:
        ValueError: for an option that the other options make meaningless.
    """
    refuse_ignored(options)
    return LandscapeSettings(
        problem=problem_of(options),
        directions=DirectionSettings(
            n=options.directions,
            method=method_of(options),
            product=options.product,
            order=options.order,
            normalization=options.normalization,
            parameters=options.parameters,
            max_iterations=options.max_iterations,
            tolerance=options.tolerance,
            seed=options.seed,
            solutions=tuple(options.solutions),
            file=getattr(options, "directions_file", ""),
        ),
        run=RunSettings(shards=options.shards),
    )


def problem_of(options: argparse.Namespace) -> ProblemSettings:
    """Return the settings of the problem."""
    return ProblemSettings(
        name=options.problem,
        arguments=parse_arguments(options.arguments),
        checkpoint=getattr(options, "checkpoint", ""),
        dtype=options.dtype,
        autocast=options.autocast,
        device=options.device,
    )


def evaluation_of(options: argparse.Namespace) -> EvaluationSettings:
    """Return the settings of the evaluation."""
    return EvaluationSettings(
        options.engine, options.batch, options.batch_norm, options.batch_losses
    )


def run_of(options: argparse.Namespace, store: str) -> RunSettings:
    """Return the settings of the run, with a store."""
    return RunSettings(
        store, options.time_budget, options.memory * GIBIBYTE, options.part, options.shards
    )


def samples_of(options: argparse.Namespace, resolution: int) -> SampleSettings:
    """Return the settings of the samples, with a resolution."""
    if options.scattered is None:
        return GridSettings(resolution, options.distance, options.rise, options.nearest)
    return ScatterSettings(
        options.scattered, options.region, options.distance, options.seed, options.rise
    )


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("a path must have a name, got an empty one")
    return text


def _integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be integers, as 41 or 41,21, got {text!r}"
        ) from None


def _part(text: str) -> tuple[int, int]:
    k, _, m = text.partition("/")
    try:
        return int(k), int(m)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be K/M, as 1/8, got {text!r}") from None
