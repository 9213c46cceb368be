"""Sampling in another process."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from tlp_core import Landscape
from tlp_core.pipeline.background import BackgroundSampling, coarse_resolutions
from tlp_core.pipeline.sampler import LandscapeSampler
from tlp_core.pipeline.settings import LandscapeSettings
from tlp_core.problems.settings import ProblemSettings
from tlp_core.sampling.settings import GridSettings, RunSettings, ScatterSettings

SLOW = """
import time
import torch
from tlp_core import Problem


def make_problem():
    def loss(model, _batch):
        time.sleep(0.02)
        return (model.weight**2).sum()

    return Problem(torch.nn.Linear(2, 1, bias=False), loss, [torch.zeros(1)], name="slow")
"""

STARTED = """
import sys, time
from tests.pipeline.test_background import slow_settings
from tlp_core.pipeline.background import BackgroundSampling
sampling = BackgroundSampling(slow_settings(sys.argv[1]))
while not sampling.report().resolution:
    time.sleep(0.05)
print(sampling._process.pid, sampling._folder, flush=True)
time.sleep(60)
"""


def slow_settings(file, resolution=21, **run):
    return LandscapeSettings(
        ProblemSettings(f"{file}:make_problem"),
        samples=GridSettings(resolution),
        run=RunSettings(**run),
    )


@pytest.fixture
def slow(tmp_path):
    file = tmp_path / "slow.py"
    file.write_text(SLOW)
    return file


def wait(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def ended(sampling):
    wait(lambda: not sampling.report().is_running)
    return sampling.report()


def shown(sampling):
    return sampling.landscape(sampling.available_resolution())


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_points_of_coarse_grids_are_points_of_the_grid():
    for resolution in range(3, 203, 2):
        for coarse in coarse_resolutions(resolution):
            assert coarse % 2 == 1
            assert 7 <= coarse < resolution
            assert (resolution - 1) % (coarse - 1) == 0
    assert coarse_resolutions(41) == [9, 21]
    assert coarse_resolutions(21) == [11]
    assert coarse_resolutions(5) == []


def test_it_samples_what_one_process_samples(tmp_path):
    store = str(tmp_path / "wells.zarr")
    settings = LandscapeSettings(
        ProblemSettings("two-wells"), samples=GridSettings(21), run=RunSettings(store=store)
    )
    sampling = BackgroundSampling(settings)
    report = ended(sampling)
    assert (report.error, report.finished, report.text) == ("", 21, "complete")
    alone = LandscapeSampler().sample(replace(settings, run=RunSettings()))
    assert np.array_equal(shown(sampling).loss, alone.loss)
    folder = sampling._folder
    assert [each.name for each in folder.glob("*.zarr")] == ["11.zarr"]
    sampling.close()
    assert not folder.exists()
    assert Landscape.open(store).is_complete


def test_coarse_grids_are_those_that_are_wanted():
    settings = LandscapeSettings(ProblemSettings("two-wells"), samples=GridSettings(21))
    sampling = BackgroundSampling(settings, coarse=(5, 9))
    assert ended(sampling).finished == 21
    assert {each.name for each in sampling._folder.glob("*.zarr")} == {
        "5.zarr",
        "9.zarr",
        "21.zarr",
    }
    sampling.close()
    for coarse, rule in (
        ((9, 5), "must ascend"),
        ((21,), "smaller than the resolution, 21, got 21"),
        ((8,), "odd"),
    ):
        with pytest.raises(ValueError, match=rule):
            BackgroundSampling(settings, coarse=coarse)


def test_an_error_is_one_sentence(tmp_path):
    settings = LandscapeSettings(ProblemSettings("two-wells", arguments={"nonsense": 1}))
    sampling = BackgroundSampling(settings)
    report = ended(sampling)
    assert report.error.startswith("arguments of two-wells must fit (n=")
    assert shown(sampling) is None
    sampling.close()
    nowhere = replace(settings, run=RunSettings(store="/proc/a.zarr"))
    with pytest.raises(OSError, match="must lie in a folder that can be written, got /proc/a"):
        BackgroundSampling(nowhere)
    unnamed = replace(settings, run=RunSettings(store=str(tmp_path / "a.npz")))
    for sample in (BackgroundSampling, LandscapeSampler().sample):
        with pytest.raises(ValueError, match=r"a new store must end in \.zarr"):
            sample(unnamed)
    with pytest.raises(ValueError, match="in the background must be on a grid"):
        BackgroundSampling(replace(settings, samples=ScatterSettings(count=8)))


def test_a_death_of_the_process_is_an_error(slow):
    sampling = BackgroundSampling(slow_settings(slow))
    wait(lambda: sampling.report().resolution)
    sampling._process.kill()
    assert ended(sampling).error == "sampling ended with code -9"
    sampling.close()


def test_a_stop_keeps_what_was_sampled(slow, tmp_path):
    store = str(tmp_path / "slow.zarr")
    sampling = BackgroundSampling(slow_settings(slow, 41, store=store))
    wait(lambda: sampling.report().finished)
    assert shown(sampling).shape == (9, 9)
    sampling.stop()
    report = ended(sampling)
    assert (report.error, report.text) == ("", "stopped")
    assert shown(sampling).shape == (report.finished,) * 2
    sampling.close()


def test_a_stop_before_the_first_grid_shows_what_there_is(slow):
    sampling = BackgroundSampling(slow_settings(slow, 5))
    wait(lambda: sampling.report().fraction > 0)
    assert shown(sampling) is None
    sampling.stop()
    ended(sampling)
    landscape = shown(sampling)
    assert landscape.shape == (5, 5)
    assert landscape.evaluated.any()
    sampling.close()


def test_it_does_not_outlive_a_killed_program(slow):
    program = subprocess.Popen(
        [sys.executable, "-c", STARTED, str(slow)], stdout=subprocess.PIPE, text=True
    )
    with program.stdout as printed:
        process, folder = printed.readline().split()
    program.send_signal(signal.SIGKILL)
    program.wait()
    wait(lambda: not is_alive(int(process)))
    wait(lambda: not os.path.exists(folder))
