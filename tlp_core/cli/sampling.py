"""The commands ``sample``, ``training`` and ``directions``."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace

from tlp_core.atomic_files import require_file_place
from tlp_core.choices import ENGINES
from tlp_core.cli.options import (
    Parsers,
    add_json,
    add_output,
    add_problem,
    add_problem_only,
    add_quiet,
    add_samples,
    evaluation_of,
    problem_and_directions,
    problem_of,
    run_of,
    samples_of,
)
from tlp_core.cli.output import INCOMPLETE, log_to_stderr, print_result, summarize, write_rows
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.store import require_new_store
from tlp_core.progress import TerminalProgress, silent

logger = logging.getLogger(__name__)


def add_commands(commands: Parsers) -> None:
    """Add the commands to the parser of ``tlp``."""
    _add_sample(commands)
    _add_training(commands)
    _add_blocks(commands)
    _add_path(commands)
    _add_directions(commands)


def sample(options: argparse.Namespace) -> int:
    """Sample a landscape into a store, or resume it; several resolutions from coarse to fine."""
    from tlp_core.pipeline.sampler import LandscapeSampler
    from tlp_core.sampling.partition import part_of_process
    from tlp_core.sampling.resources import keep_memory

    keep_memory()
    log_to_stderr(quiet=options.quiet)
    if sorted(set(options.resolution)) != options.resolution:
        raise ValueError(f"resolutions must ascend, as 11,21,41, got {options.resolution}")
    require_new_store(options.output)  # before coarser grids are sampled
    stores = [_coarse_store(options.output, r) for r in options.resolution[:-1]]
    all_settings = [
        replace(
            problem_and_directions(options),
            samples=samples_of(options, resolution),
            evaluation=evaluation_of(options),
            run=run_of(options, store),
        )
        for resolution, store in zip(options.resolution, [*stores, options.output])
    ]
    sampler, landscape = LandscapeSampler(), None
    for settings in all_settings:
        store = settings.run.store
        is_last = settings is all_settings[-1]
        progress = TerminalProgress("tlp sample" if is_last else f"tlp sample {store}")
        landscape = sampler.sample(settings, reuse=landscape, progress=progress)
        if part_of_process(options.part, options.shards).is_first():
            print_result(summarize(store, landscape), as_json=options.json)
        if not _is_part_complete(store, landscape, options.part):
            return INCOMPLETE
    return 0


def sample_training(options: argparse.Namespace) -> int:
    """Sample the landscape of every checkpoint of a training, or resume it."""
    from tlp_core.landscape.series import find_checkpoints, format_step
    from tlp_core.pipeline.training_sampler import TrainingSampler, find_step
    from tlp_core.sampling.partition import part_of_process
    from tlp_core.sampling.resources import keep_memory

    keep_memory()
    log_to_stderr(quiet=options.quiet)
    if len(options.resolution) > 1:
        raise ValueError(f"a training must have one resolution, got {options.resolution}")
    settings = replace(
        problem_and_directions(options),
        samples=samples_of(options, options.resolution[0]),
        evaluation=evaluation_of(options),
        run=run_of(options, options.output),
    )
    members = find_checkpoints(options.checkpoints)
    fixed = None if options.own_directions else find_step(members, options.directions_of)
    sampler, part = TrainingSampler(), part_of_process(options.part, options.shards)
    exit_code = 0
    for i, member in enumerate(members, start=1):
        progress = TerminalProgress(
            f"tlp training: step {format_step(member.step)}, {i}/{len(members)}"
        )
        landscape = sampler.sample(settings, member, directions_of=fixed, progress=progress)
        store = str(sampler.store_of(settings, member, fixed))
        if not _is_part_complete(store, landscape, options.part):
            exit_code = INCOMPLETE
        if part.is_first():
            print_result({"step": member.step, **summarize(store, landscape)}, as_json=options.json)
    return exit_code


def measure_groups(options: argparse.Namespace) -> int:
    """Write the table of all groups of parameters at all steps, or resume it."""
    from tlp_core.landscape.series import find_checkpoints
    from tlp_core.pipeline.block_table import BlockSettings, measure_blocks
    from tlp_core.sampling.partition import part_of_process
    from tlp_core.sampling.resources import keep_memory

    keep_memory()
    log_to_stderr(quiet=options.quiet)
    if len(options.resolution) > 1:
        raise ValueError(f"a table must have one resolution, got {options.resolution}")
    if options.parameters is not None:
        raise ValueError("--parameters has no meaning with tlp blocks; use --groups")
    require_file_place(options.output)
    settings = replace(
        problem_and_directions(options),
        samples=samples_of(options, *options.resolution),
        evaluation=evaluation_of(options),
        run=run_of(options, ""),
    )
    blocks = BlockSettings(options.groups, options.trace_vectors, options.sharpness, options.alpha)
    members = find_checkpoints(options.checkpoints)
    is_first = part_of_process(options.part, options.shards).is_first()
    progress = TerminalProgress("tlp blocks") if is_first else silent
    left: list[tuple[float, str]] = []
    rows = measure_blocks(
        options.output,
        settings,
        members,
        blocks,
        progress=progress,
        unfinished=lambda *row: left.append(row),
    )
    for row in rows:
        if is_first:
            print_result(row, as_json=options.json)
    progress(1.0, f"{len(members)} steps")
    if left and is_first:
        logger.warning(
            "%d rows are not written, because their landscapes have samples left; the same "
            "command adds them",
            len(left),
        )
    return INCOMPLETE if left else 0


def _is_part_complete(store: str, landscape: Landscape, part: tuple[int, int] | None) -> bool:
    """Return whether all chunks of a process's part are done; other parts do not count."""
    if landscape.is_complete or part is None:
        return landscape.is_complete
    from tlp_core.landscape.store import LandscapeStore
    from tlp_core.sampling.partition import SinglePart

    opened = LandscapeStore.open(store)
    return all(opened.is_done(chunk) for chunk in SinglePart(part).claim(list(opened.chunks())))


def write_path(options: argparse.Namespace) -> int:
    """Write the losses on the path between two models."""
    from tlp_core.pipeline.problem_loader import ProblemLoader
    from tlp_core.problems.weights import read_state_of
    from tlp_core.sampling.partition import part_of_process
    from tlp_core.sampling.path import sample_path

    log_to_stderr(quiet=options.quiet)
    require_file_place(options.output)
    if not part_of_process().is_alone:
        raise ValueError("tlp path must run in one process, got several ranks")
    problem = ProblemLoader().load(problem_of(options))
    path = sample_path(
        problem,
        read_state_of(problem, options.to),
        points=options.points,
        parameters=options.parameters,
        engine=options.engine,
        progress=TerminalProgress("tlp path"),
    )
    rows = zip(path.positions.tolist(), *(loss.tolist() for loss in path.losses.values()))
    write_rows(options.output, [["position", *path.losses], *rows])
    print_result(
        {
            "output": options.output,
            "length": path.length,
            **{f"barrier_{name}": barrier for name, barrier in path.barriers.items()},
        },
        as_json=options.json,
    )
    return 0


def make_directions(options: argparse.Namespace) -> int:
    """Make directions, and write them for ``tlp sample --directions-file``."""
    from tlp_core.pipeline.sampler import LandscapeSampler
    from tlp_core.sampling.partition import abort_all_on_error, part_of_process

    part = part_of_process(shards=options.shards)
    require_file_place(options.output)
    with abort_all_on_error(part):
        _, found = LandscapeSampler().directions(
            problem_and_directions(options),
            progress=TerminalProgress("tlp directions") if part.is_first() else silent,
        )
        if part.is_in_first_group():
            found.save(options.output)
        part.finish()
    if not part.is_first():
        return 0
    short = {name: value for name, value in found.provenance.items() if name != "solutions"}
    print_result(
        {
            "output": options.output,
            "directions": len(found),
            "method": found.method,
            "eigenvalues": found.eigenvalues.tolist(),
            "residuals": found.residuals.tolist(),
            **(dict(found.provenance) if options.json else short),
        },
        as_json=options.json,
    )
    return 0


def _coarse_store(path: str, resolution: int) -> str:
    """Return the store of a coarser grid beside another: ``net.zarr`` gives ``net.r11.zarr``."""
    return f"{path.removesuffix('.zarr')}.r{resolution}.zarr"


def _add_sample(commands: Parsers) -> None:
    command = commands.add_parser(
        "sample",
        help="sample a landscape into a store",
        description="Sample a landscape into a store; the same command resumes an incomplete "
        "store. Under mpiexec or torchrun all ranks divide the work.",
    )
    command.set_defaults(run=sample)
    add_problem(command)
    add_output(command, "the store, NAME.zarr")
    command.add_argument(
        "--directions-file",
        default="",
        metavar="FILE",
        help="written by tlp directions, NAME.npz or NAME.safetensors",
    )
    add_samples(
        command,
        "points along each direction (default: 41); 11,21,41 samples coarse grids first, into "
        "NAME.r11.zarr and NAME.r21.zarr, and reuses their samples",
    )


def _add_training(commands: Parsers) -> None:
    command = commands.add_parser(
        "training",
        help="sample the landscapes of a training's checkpoints",
        description="Sample the landscape of every checkpoint of a training, along the directions "
        "of one of them; the same command resumes an incomplete training.",
    )
    command.set_defaults(run=sample_training)
    add_problem(command, with_checkpoint=False)
    _add_checkpoints(command)
    add_output(command, "a folder; the landscapes lie in a subfolder for these settings")
    directions_of = command.add_mutually_exclusive_group()
    directions_of.add_argument(
        "--directions-of",
        type=float,
        metavar="STEP",
        help="the step whose directions are used (default: the last)",
    )
    directions_of.add_argument(
        "--own-directions", action="store_true", help="use each checkpoint's own directions"
    )
    add_samples(command, "points along each direction (default: 41)")


def _add_blocks(commands: Parsers) -> None:
    command = commands.add_parser(
        "blocks",
        help="measure every block at every step of a training",
        description="Write a table with a row for each block, its attention, its feed-forward "
        "layers and the embedding, at every checkpoint: eigenvalues with residuals, trace, "
        "critical sharpness, descriptors of the landscape along the group's own directions, "
        "losses. Rows are appended one by one, and the same command resumes the table.",
    )
    command.set_defaults(run=measure_groups)
    add_problem(command, with_checkpoint=False)
    _add_checkpoints(command)
    add_output(command, "the table, NAME.csv; the landscapes lie beside it in NAME.landscapes")
    command.add_argument(
        "--groups", default="*", metavar="PATTERN", help="names of the groups (default: all)"
    )
    command.add_argument(
        "--trace-vectors",
        type=int,
        default=10,
        help="most random vectors of the trace, 10 or more, or 0 for no trace (default: 10)",
    )
    command.add_argument(
        "--no-sharpness",
        dest="sharpness",
        action="store_false",
        help="leave the critical sharpness out",
    )
    command.add_argument(
        "--alpha", action="store_true", help="add the α of weightwatcher, which must be installed"
    )
    add_samples(command, "points along each direction (default: 41)")


def _add_path(commands: Parsers) -> None:
    command = commands.add_parser(
        "path",
        help="write the losses on the path between two models",
        description="Write the losses on the straight path from a model to another, such as a "
        "fine-tuned one, and print the barrier: the height of the loss above the line between its "
        "ends.",
    )
    command.set_defaults(run=write_path)
    add_problem_only(command)
    command.add_argument(
        "--to", required=True, metavar="FILE", help="checkpoint of the other model"
    )
    command.add_argument(
        "--points",
        type=int,
        default=21,
        help="points on the path, both ends included (default: 21)",
    )
    command.add_argument(
        "--parameters",
        metavar="PATTERN",
        help="names of the parameters to move, such as 'layers.3.*' (default: all)",
    )
    command.add_argument(
        "--engine", choices=ENGINES, help="how losses are evaluated (default: by the counted work)"
    )
    add_quiet(command)
    add_json(command)
    add_output(command, "the table, NAME.csv")


def _add_checkpoints(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--checkpoints",
        nargs="+",
        required=True,
        help="files, folders or patterns; the step is the number in a name",
    )


def _add_directions(commands: Parsers) -> None:
    command = commands.add_parser(
        "directions",
        help="make directions only",
        description="Make directions and write them to a file, for tlp sample --directions-file.",
    )
    command.set_defaults(run=make_directions)
    add_problem(command)
    add_output(command, "the file, NAME.npz, or NAME.safetensors for a large model")
