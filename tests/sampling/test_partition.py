"""Several processes on one landscape, and processes that are killed."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tlp_core import Landscape
from tlp_core.cli.main import main
from tlp_core.cli.output import INCOMPLETE
from tlp_core.sampling.partition import SinglePart
from tlp_core.sampling.settings import RunSettings

SLOW = '''
import os
import pathlib
import signal
import time
import torch
from tlp_core import Problem


def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def make_problem(seconds=0.002, store="", chunks=0, calls=0, then=""):
    """Return a problem; its process dies or waits when the store has ``chunks`` chunks.

    The process dies after ``calls`` more calls of the loss (then="stop"), before the next file is
    renamed ("stop writing"), or as soon as the last of the chunks is renamed ("stop after it"); or
    it waits after ``calls`` more calls ("wait").
    """
    passed = []
    rename = os.replace  # the file of a chunk is renamed when it is written

    def has_chunks():
        folder = pathlib.Path(store)
        return folder.exists() and len(list(folder.glob("loss/c/*/*/0"))) >= chunks

    def rename_and_die(*names, **options):
        rename(*names, **options)
        if has_chunks():
            kill()

    if then == "stop writing":
        os.replace = kill
    elif then == "stop after it":
        os.replace = rename_and_die
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    x = torch.randn(40, 2)

    def loss(model, batch):
        if then in ("stop", "wait") and has_chunks():
            passed.append(1)
            if len(passed) > calls and then == "stop":
                kill()
            if len(passed) > calls:
                time.sleep(600)  # until the test ends it
        time.sleep(seconds)
        return (model(batch[0]) - batch[1]).square().mean()

    return Problem(model, loss, [(x, x.sum(1, keepdim=True))], name="slow")
'''

OPTIONS = ["--method", "random", "-n", "3", "-r", "5", "--engine", "single"]


@pytest.fixture(scope="module")
def problem_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("problem") / "slow.py"
    path.write_text(SLOW)
    return str(path)


def arguments(problem_file, store, **more):
    """Return the arguments of a command; ``more`` are arguments of the problem."""
    of_problem = ["-a", ", ".join(f"{k}={v}" for k, v in {"store": store, **more}.items())]
    return ["sample", problem_file, "-o", str(store), *OPTIONS, "-q", *(of_problem if more else [])]


def command(problem_file, store, *more):
    program = [sys.executable, "-m", "tlp_core", "sample", problem_file, "-o", str(store)]
    return [*program, *OPTIONS, *more]


def files(store):
    """Every file of a store and its bytes."""
    return {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def chunks(store):
    """Names of the finished chunks; unfinished ones may be renamed while they are listed."""
    return [p for p in store.glob("loss/c/**/*") if not p.suffix and p.is_file()]


@pytest.fixture(scope="module")
def undisturbed_store(problem_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("preserve_model") / "preserve_model.zarr"
    subprocess.run(command(problem_file, path, "-q"), check=True, capture_output=True)
    return files(path)


@pytest.fixture
def sample(problem_file):
    """Return a function that samples in a separate process, in which torch is imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "torch", "tlp_core", "tlp_core.cli.main"])
    started = []

    def start(store, **more):
        process = context.Process(target=main, args=(arguments(problem_file, store, **more),))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def wait_for_chunks(store, count, is_running):
    """Wait until a store has ``count`` chunks; fail if the process ends earlier."""
    while len(chunks(store)) < count:
        assert is_running()
        time.sleep(0.002)


@pytest.mark.exhaustive
def test_two_fresh_runs_write_the_same_bytes(tmp_path):
    """Also where many engines suit the work: 4,913 samples of a network."""
    program = [sys.executable, "-m", "tlp_core", "sample", "pinn-convection", "-q"]
    options = ["-a", "collocation=20", "-n", "3", "-r", "17", "--method", "random"]
    stores = [tmp_path / "one.zarr", tmp_path / "other.zarr"]
    for store in stores:
        subprocess.run([*program, *options, "-o", store], check=True, capture_output=True)
    assert Landscape.open(stores[0]).provenance["evaluation"]["name"] == "batched"
    assert files(stores[0]) == files(stores[1])


@pytest.mark.exhaustive
def test_a_killed_and_resumed_run_gives_the_bytes_of_an_undisturbed_run(
    sample, problem_file, undisturbed_store, tmp_path
):
    """Kill the process in each of 5 chunks: in it, before it is renamed, and after that."""
    rng = np.random.default_rng(0)
    killed = 0
    for number in range(2):
        store = tmp_path / f"killed{number}.zarr"
        for count in range(5):
            for then in ("stop", "stop writing", "stop after it"):
                # a chunk has 25 calls, and its file may come some calls later
                calls, ready = rng.integers(12), count + (then == "stop after it")
                if ready == 5:
                    continue  # no chunk is left
                process = sample(store, chunks=ready, calls=calls, then=then)
                process.join()
                assert process.exitcode == -signal.SIGKILL
                killed += 1
                assert len(chunks(store)) == ready
                if store.exists():
                    Landscape.open(store)  # an incomplete store can be read
        assert main(arguments(problem_file, store)) == 0
        left = files(store)
        assert {path: left[path] for path in undisturbed_store} == undisturbed_store
    assert killed >= 20


def test_two_processes_on_one_store_do_not_disturb_each_other(
    problem_file, undisturbed_store, tmp_path
):
    store = tmp_path / "both.zarr"
    both = [
        subprocess.Popen(command(problem_file, store), stderr=subprocess.PIPE) for _ in range(2)
    ]
    for process in both:
        _, printed = process.communicate()
        assert process.returncode == 0, printed.decode()
    assert files(store) == undisturbed_store


def test_parts_give_the_whole_store(problem_file, undisturbed_store, tmp_path):
    store = tmp_path / "parts.zarr"
    printed = []
    for k in (2, 1):
        assert not store.exists() or not Landscape.open(store).is_complete
        part = command(problem_file, store, "--part", f"{k}/2")
        printed.append(subprocess.run(part, check=True, capture_output=True, text=True).stderr)
    assert files(store) == undisturbed_store
    sentence = "samples are there; run the other parts"
    assert [sentence in text for text in printed] == [True, False]


def test_a_swapped_chunk_of_another_part_is_named_before_it_is_resumed(
    problem_file, tmp_path, capsys
):
    store = tmp_path / "parts.zarr"
    assert main(["sample", problem_file, "-o", str(store), *OPTIONS, "-q", "--part", "2/2"]) != 1
    one, other = sorted(chunks(store))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    capsys.readouterr()
    assert main(["sample", problem_file, "-o", str(store), *OPTIONS, "-q", "--part", "1/2"]) == 1
    assert f"is damaged in 2 chunks, first {one}" in capsys.readouterr().err.splitlines()[-1]
    assert len(chunks(store)) == 2
    one.unlink()
    other.unlink()
    for k in (1, 2):
        main(["sample", problem_file, "-o", str(store), *OPTIONS, "-q", "--part", f"{k}/2"])
    assert Landscape.open(store).is_complete


@pytest.mark.skipif(not shutil.which("mpiexec"), reason="there is no mpiexec")
def test_ranks_of_mpi_make_the_same_store(problem_file, undisturbed_store, tmp_path):
    pytest.importorskip("mpi4py")
    store = tmp_path / "ranks.zarr"
    done = mpiexec(command(problem_file, store, "--json"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"evaluated": 125') == 1
    assert files(store) == undisturbed_store


@pytest.mark.skipif(not shutil.which("mpiexec"), reason="there is no mpiexec")
def test_a_failed_rank_ends_the_run_and_the_store_is_resumed(
    problem_file, undisturbed_store, tmp_path
):
    pytest.importorskip("mpi4py")
    store = tmp_path / "fails.zarr"
    failing = tmp_path / "failing" / "slow.py"
    failing.parent.mkdir()
    failing.write_text(
        SLOW.replace(
            "        time.sleep(seconds)\n",
            "        all_calls.append(1)\n"
            "        rank = os.environ.get('OMPI_COMM_WORLD_RANK', '0')\n"
            "        if rank == '1' and len(all_calls) > 30:\n"
            "            raise ValueError('a broken node')\n"
            "        if rank == '0':\n"
            "            time.sleep(0.05)  # so that rank 1 gets its share\n",
        ).replace("import os\n", "import os\nall_calls = []\n")
    )
    done = mpiexec(command(str(failing), store))
    assert done.returncode != 0
    assert "rank 1 ends the run: LossError: " in done.stderr
    assert "a broken node" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Landscape.open(store).is_complete
    subprocess.run(command(problem_file, store), check=True, capture_output=True)
    record = undisturbed_store[Path("zarr.json")].replace(problem_file.encode(), bytes(failing))
    assert files(store) == {**undisturbed_store, Path("zarr.json"): record}


def mpiexec(program):
    environment = {
        **os.environ,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }
    return subprocess.run(
        ["mpiexec", "-n", "2", *program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_ctrl_c_leaves_a_store_that_is_resumed(problem_file, undisturbed_store, tmp_path):
    store = tmp_path / "stopped.zarr"
    program = [sys.executable, "-m", "tlp_core"]
    process = subprocess.Popen(
        [*program, *arguments(problem_file, store, chunks=1, calls=9, then="wait")],
        # with one thread, the signal interrupts the thread that waits
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_chunks(store, 1, lambda: process.poll() is None)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=30)
    assert process.returncode == INCOMPLETE
    assert "the same command resumes" in printed
    assert "Traceback" not in printed
    assert len(chunks(store)) == 1
    subprocess.run(command(problem_file, store), check=True, capture_output=True)
    assert files(store) == undisturbed_store


def test_every_item_belongs_to_one_part():
    items = list(range(17))
    found = [item for k in range(1, 5) for item in SinglePart((k, 4)).claim(items)]
    assert sorted(found) == items


@pytest.mark.parametrize("part", [(0, 3), (4, 3), (1, 0)])
def test_bad_parts_are_reported(part):
    with pytest.raises(ValueError, match="part must be"):
        RunSettings(part=part)


def test_a_read_only_folder_and_a_full_disk_give_one_sentence(problem_file, tmp_path, capsys):
    if os.geteuid() == 0:
        place = "/proc/landscape.zarr"
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        place = str(tmp_path / "locked" / "a.zarr")
    assert main(["sample", problem_file, "-o", place, *OPTIONS, "-q"]) == 1
    printed = capsys.readouterr().err.strip().splitlines()
    assert printed[-1].startswith("tlp sample: ")
    assert "Traceback" not in "".join(printed)


def test_a_disk_that_is_full_leaves_a_store_that_opens(problem_file, tmp_path, monkeypatch, capsys):
    from tlp_core.landscape.store import LandscapeStore

    written, write = [], LandscapeStore.write

    def full(self, chunk, losses):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(chunk)
        write(self, chunk, losses)

    monkeypatch.setattr(LandscapeStore, "write", full)
    store = str(tmp_path / "full.zarr")
    assert main(["sample", problem_file, "-o", store, *OPTIONS, "-q"]) == 1
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert Landscape.open(store).evaluated.sum() == 50
