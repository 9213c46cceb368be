"""Tests of pvserver with the plugin and a client, and of pvbatch with several processes."""

import ast
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress

import pytest

from tests.paraview_programs import ERROR_LINE, launcher, run, xvfb_run
from tlp_core import Landscape, landscape_profile
from tlp_core.topology.landscape_tree import landscape_tree

pytestmark = pytest.mark.paraview

CLIENT = """
from paraview import simple
simple.Connect("localhost", {port})
from paraview import servermanager
from tlp_paraview import fitting, interaction, pipeline, versions, views
with pipeline.pipeline_errors() as errors:
    pipeline.load_plugin()
    source = simple.TLPLossLandscape(
        Problem="file", ProblemFile="two_moons.py", Checkpoints=["moons_training"],
        Normalization="layer", Distance=2.0, Resolution=9, Store="kept",
    )
    built = pipeline.build(source)
    if {has_views}:
        layout = views.show_landscape(built)
        interaction.attach()
    print("is remote", source.GetClientSideObject() is None)
    simple.GetAnimationScene().AnimationTime = 160
    built.profile.UpdatePipeline(160)
    basins = servermanager.Fetch(built.profile, idx=0).GetCellData().GetArray("Size")
    print("sizes", [basins.GetValue(i) for i in range(basins.GetNumberOfTuples())])
    ids = servermanager.sources.IDSelectionSource(FieldType="CELL", IDs=[0, 0])
    selection = versions.appended_selection(ids)
    built.profile.SMProxy.SetSelectionInput(0, selection, 0)
    if {has_views}:
        chosen = interaction.selected_ids(simple.FindSource("Surface"), 0, "points")
        print("selected", len(chosen["SampleId"]), basins.GetValue(0))
        simple.SaveScreenshot("client.png", layout, ImageResolution=[1600, 900])
    else:
        chosen = interaction.selected_ids(built.profile, 0, "cells")
        print("basins selected", chosen["BasinId"].tolist())
print("errors", errors)
views.close_views()
"""

BATCH = """
from paraview import simple, servermanager
from tlp_paraview import pipeline
with pipeline.pipeline_errors() as errors:
    reader = simple.TLPLandscapeReader(FileName=["two_wells.zarr"])
    built = pipeline.build(reader)
    basins = servermanager.Fetch(built.profile, idx=0).GetCellData()
    for name in ("Size", "MinimumId", "SaddleId", "Persistence"):
        array = basins.GetArray(name)
        print("printed", name, [array.GetValue(i) for i in range(array.GetNumberOfTuples())])
print("printed errors", errors)
with pipeline.pipeline_errors() as errors:
    wavelet = simple.Wavelet()  # which each process makes a piece of
    tree = simple.TLPMergeTree(Input=wavelet, ScalarField=["POINTS", "RTData"])
    tree.UpdatePipeline()
    graph = simple.TLPNeighborGraph(
        Input=simple.Tetrahedralize(Input=wavelet), Graph="k nearest neighbors"
    )
    graph.UpdatePipeline()
counts = [p.GetDataInformation(0).GetNumberOfPoints() for p in (tree, graph)]
with pipeline.pipeline_errors() as of_profile:  # whose segmentation is in pieces
    profile = simple.TLPLandscapeProfile(
        Nodes=simple.OutputPort(built.tree, 0), Arcs=simple.OutputPort(built.tree, 1),
        Segmentation=simple.Tetrahedralize(Input=wavelet), ScalarField=["POINTS", "RTData"],
    )
    profile.UpdatePipeline()
print("profile", profile.GetDataInformation(0).GetNumberOfCells(), of_profile)
print("distributed", counts, sorted({error.partition("ERR: ")[2] for error in errors}))
"""


@pytest.fixture(params=[1, pytest.param(4, marks=pytest.mark.exhaustive)])
def server(request, tmp_path):
    """Start a pvserver with one process or four, and yield its port, its log and their number."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    mpiexec = shutil.which("mpiexec")
    if request.param > 1 and mpiexec is None:
        pytest.skip("no mpiexec")
    several = [mpiexec, "-n", str(request.param), "--oversubscribe"] if request.param > 1 else []
    log = tmp_path / "server.log"
    environment = {
        **os.environ,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",  # waiting processes would hold the cores
        "HOME": str(tmp_path),
    }
    with open(log, "w") as file:
        process = subprocess.Popen(
            [
                *xvfb_run(),
                *several,
                str(launcher("pvserver")),
                f"--server-port={port}",
            ],
            cwd=tmp_path,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while "Accepting connection" not in log.read_text():
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    yield port, log, request.param
    try:
        process.wait(timeout=60)  # the server ends with its client, and xvfb-run ends its display
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_the_pipeline_works_on_a_server(server, run_pvpython, tmp_path):
    """The views, too, where there is one process; four would take half a minute."""
    port, log, count = server
    has_views = count == 1
    done = run_pvpython(CLIENT.format(port=port, has_views=has_views), display=True)
    assert done.code == 0, done.text + log.read_text()
    assert done.errors == []
    assert not [line for line in log.read_text().splitlines() if ERROR_LINE.search(line)]
    assert "is remote True" in done.text
    assert "errors []" in done.text
    if has_views:
        (selected, size) = re.search(r"selected (\d+) (\d+)", done.text).groups()
        assert selected == size
    else:
        assert "basins selected [0]" in done.text
    (kept,) = (tmp_path / "kept").rglob("step_160-*.zarr")  # the server has written it
    profile = landscape_profile(landscape_tree(Landscape.open(kept)))
    sizes = ast.literal_eval(re.search("sizes (.*)", done.text)[1])
    assert sorted(sizes) == sorted(profile.basins.size.tolist())
    assert sizes[0] < max(sizes)
    assert (tmp_path / "client.png").exists() == has_views


def test_several_processes_of_pvbatch_give_the_same_profile_and_refuse_pieces(tmp_path):
    """Four processes: each would make a merge tree of its own piece of the wavelet."""
    mpiexec = shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("no mpiexec")
    (tmp_path / "batch.py").write_text(BATCH)
    printed, distributed = [], []
    for count in (1, 4):
        several = [mpiexec, "--allow-run-as-root", "--oversubscribe", "-n", str(count)]
        done = run([*several, launcher("pvbatch"), "--dr", "batch.py"], tmp_path)
        assert done.code == 0, done.text
        printed.append([line for line in done.text.splitlines() if line.startswith("printed")])
        distributed += re.findall("distributed (.*)", done.text)
    assert printed[0] == printed[1]
    assert len(printed[0]) == 5
    assert printed[0][-1] == "printed errors []"
    sentence = ": all samples must be in one of ParaView's processes, and 4 of them hold some"
    assert distributed[0] == "[692, 9261] []"
    assert distributed[1].startswith("[0, 0] ")
    (profile,) = re.findall("profile (.*)", done.text)
    assert profile.startswith("0 ")
    assert "TLP Landscape Profile" + sentence in profile
    assert all(
        name + sentence in distributed[1] for name in ("TLP Merge Tree", "TLP Neighbor Graph")
    )
