"""Tests against TTK's filters: equal trees and exchangeable filters."""

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageStat

from tests.conftest import DATA
from tests.paraview_programs import ROOT, has_ttk

STATE_FILES = ROOT / "state_files"

pytestmark = [pytest.mark.paraview, pytest.mark.ttk]


@pytest.fixture(scope="module", autouse=True)
def _ttk(tmp_path_factory):
    if not has_ttk(tmp_path_factory.mktemp("ttk")):
        pytest.skip("TTK's plugin was not found (TLP_TTK_PLUGIN)")


TOOLS = """
import numpy as np
from paraview import servermanager, simple
from vtkmodules.vtkCommonDataModel import vtkImageData, vtkUnstructuredGrid
from tlp_core import grid_graph, knn_graph, merge_tree, vtk_bridge
from tlp_paraview import pipeline

pipeline.load_plugin()
ttk_filter = pipeline.ttk_filter()


def produced(data):
    producer = simple.TrivialProducer()
    producer.GetClientSideObject().SetOutput(data)
    return producer


def graph_data(points, values, graph):
    data = vtkUnstructuredGrid()
    padded = np.zeros((len(points), 3))
    padded[:, : min(3, points.shape[1])] = points[:, :3]
    data.SetPoints(vtk_bridge.make_points(padded))
    vtk_bridge.add_array(data.GetPointData(), "Loss", values.ravel())
    return vtk_bridge.with_graph(data, graph, "test")


def image_data(values):
    image = vtkImageData()
    image.SetDimensions(*values.shape[::-1], *[1] * (3 - values.ndim))
    vtk_bridge.add_array(image.GetPointData(), "Loss", values.ravel())
    return image


def tree_of(make, source):
    tree = make(Input=source, ScalarField=["POINTS", "Loss"])
    if make is ttk_filter:
        tree.TreeType, tree.DebugLevel = "Join Tree", 0
    tree.UpdatePipeline()
    outputs = [servermanager.Fetch(tree, idx=port) for port in range(3)]
    return vtk_bridge.skeleton_to_tree(*outputs, "Loss")


def check_equal(one, other):
    for name in ("levels", "node_vertex", "parent", "node_type", "vertex_arc"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def noise(seed, shape, ties):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 6, shape).astype(float) if ties else rng.random(shape)

"""


def passes(run_pvpython, code, *, display=False):
    done = run_pvpython(TOOLS + code + "\nprint('all equal')\n", display=display)
    assert done.errors == [], done.text
    assert "all equal" in done.text, done.text


@pytest.mark.parametrize("shape", [(14, 17), (7, 8, 9), (4, 5, 6, 7)])
def test_trees_of_random_grids_are_ttks(run_pvpython, shape):
    passes(
        run_pvpython,
        f"shape = {shape}\n"
        "points = np.indices(shape).reshape(len(shape), -1).T\n"
        "for seed in range(4):\n"
        "    for ties in (True, False):\n"
        "        for rule in ('axis', 'diagonal', 'moore', 'freudenthal'):\n"
        "            values, graph = noise(seed, shape, ties), grid_graph(shape, rule=rule)\n"
        "            source = produced(graph_data(points, values, graph))\n"
        "            check_equal(merge_tree(values, graph), tree_of(ttk_filter, source))\n"
        "            check_equal(merge_tree(values, graph), tree_of(TLPMergeTree, source))\n",
    )


def test_trees_of_knn_graphs_are_ttks(run_pvpython):
    passes(
        run_pvpython,
        "for seed in range(4):\n"
        "    for ties in (True, False):\n"
        "        for rule in ('mutual', 'union'):\n"
        "            points = np.random.default_rng(seed).random((600, 5))\n"
        "            values, graph = noise(seed, 600, ties), knn_graph(points, rule=rule)\n"
        "            source = produced(graph_data(points, values, graph))\n"
        "            check_equal(merge_tree(values, graph), tree_of(ttk_filter, source))\n",
    )


@pytest.mark.parametrize("shape", [(14, 17), (7, 8, 9)])
def test_trees_of_images_are_ttks(run_pvpython, shape):
    passes(
        run_pvpython,
        "for seed in range(4):\n"
        "    for ties in (True, False):\n"
        f"        source = produced(image_data(noise(seed, {shape}, ties)))\n"
        "        check_equal(tree_of(TLPMergeTree, source), tree_of(ttk_filter, source))\n",
    )


@pytest.mark.parametrize("shape", [(14, 17), (7, 8, 9)])
def test_simplification_is_ttks(run_pvpython, shape):
    passes(
        run_pvpython,
        f"shape = {shape}\n"
        "points = np.indices(shape).reshape(len(shape), -1).T\n"
        "for seed in range(4):\n"
        "    values, graph = noise(seed, shape, False), grid_graph(shape)\n"
        "    for data in (image_data(values), graph_data(points, values, graph)):\n"
        "        simplified = simple.TTKTopologicalSimplificationByPersistence(\n"
        "            Input=produced(data), InputArray=['POINTS', 'Loss'], DebugLevel=0,\n"
        "            PersistenceThreshold=0.2, ThresholdIsAbsolute=1, PairType='Minimum-Saddle')\n"
        "        ours = merge_tree(values, vtk_bridge.dataset_graph(data)).simplified(0.2)\n"
        "        assert len(ours.parent) > 2\n"
        "        for make in (ttk_filter, TLPMergeTree):\n"
        "            check_equal(ours, tree_of(make, simplified))\n",
    )


@pytest.mark.parametrize("n", [2, 3, 4])
def test_either_filter_gives_the_same_profile(run_pvpython, n):
    passes(
        run_pvpython,
        "from vtkmodules.util.numpy_support import vtk_to_numpy\n"
        f"source = TLPLossLandscape(Arguments='n={n}', NumberOfDirections={n}, Resolution=7)\n"
        "built = pipeline.build(source)\n"
        "assert built.tree_filter.startswith('TTK'), built.tree_filter\n"
        "tree = TLPMergeTree(Input=built.graph)\n"
        "other = TLPLandscapeProfile(Nodes=tree[0], Arcs=tree[1], Segmentation=tree[2])\n"
        "for port in range(2):\n"
        "    one, two = (servermanager.Fetch(p, idx=port) for p in (built.profile, other))\n"
        "    for data in ('GetCellData', 'GetPointData'):\n"
        "        a, b = getattr(one, data)(), getattr(two, data)()\n"
        "        for i in range(a.GetNumberOfArrays()):\n"
        "            x, y = (vtk_to_numpy(d.GetArray(a.GetArrayName(i))) for d in (a, b))\n"
        "            assert np.array_equal(x, y), a.GetArrayName(i)\n",
    )


def test_ttks_ensemble_filters_give_the_recorded_distances_and_clusters(run_pvpython):
    code = f"""
from tlp_core import Landscape
from tlp_paraview import ensemble_views

reference = np.load({str(DATA / "ensemble2d.ttk.npz")!r})
built = []
for i, losses in enumerate(reference["values"]):
    Landscape(losses, np.ones(2), np.ones(losses.shape, dtype=bool)).save(f"{{i}}.zarr")
    built.append(pipeline.build(simple.TLPLandscapeReader(FileName=[f"{{i}}.zarr"])))
ensemble = simple.OutputPort(ensemble_views.tree_ensemble(built), 0)
matrix = simple.TTKMergeTreeDistanceMatrix(Input=ensemble, DebugLevel=0)
matrix.UpdatePipeline()
table = servermanager.Fetch(matrix)
columns = [table.GetColumnByName(f"Tree{{i}}") for i in range(8)]
from vtkmodules.util.numpy_support import vtk_to_numpy
pictures = simple.TLPDistanceMap(Distances=matrix, Ensemble=ensemble)
pictures.UpdatePipeline()
shown = vtk_to_numpy(servermanager.Fetch(pictures, idx=0).GetCellData().GetArray("TreeDistance"))
assert np.allclose(shown.reshape(8, 8), reference["distance"], rtol=1e-12, atol=0), shown
found = [[column.GetValue(i) for i in range(8)] for column in columns]
assert np.allclose(found, reference["distance"], rtol=1e-12, atol=0), found
clustering = simple.TTKMergeTreeClustering(
    Input=ensemble, ComputeBarycenter=1, NumberOfClusters=2, Deterministic=1, DebugLevel=0
)
clustering.UpdatePipeline()
nodes = servermanager.Fetch(clustering, idx=0).GetBlock(0)
fields = [nodes.GetBlock(i).GetFieldData().GetArray("ClusterAssignment") for i in range(8)]
assert [field.GetValue(0) for field in fields] == reference["cluster"].tolist()
"""
    passes(run_pvpython, code)


SHOWN = """
import sys
from paraview import servermanager, simple
from tlp_paraview import fitting, pipeline, views

pipeline.load_plugin()
pipeline.ttk_filter()
sys.argv = ["state"]
{open}
for profile in (each for view in GetRenderViews() for each in fitting.profiles_in(view)):
    profile.UpdatePipeline()
    print("basins", profile.GetDataInformation(0).GetNumberOfCells())
for name in ("TTK Tracking", "Basin Tracking"):
    if FindSource(name) is not None:
        FindSource(name).UpdatePipeline()
        print(name, FindSource(name).GetDataInformation(0).GetNumberOfPoints())
texts = [source.Text for source in GetSources().values() if hasattr(source, "Text")]
print("headings", sorted(text for text in texts if "step" in text))
for i, layout in enumerate(GetLayouts().values()):
    fitting.fit_layout(layout, (800, 450))
    SaveScreenshot({picture!r} + f"{{i}}.png", layout, ImageResolution=[800, 450])
views.close_views()
"""


def of_state_and_script(run_pvpython, folder, stem):
    """Return the lines that a state and its script print alike, and the pictures of the layouts."""
    script = (STATE_FILES / f"{stem}.py").read_text(encoding="utf-8")
    found = {}
    for kind, code in (
        ("script", f"exec(compile({script!r}, {str(STATE_FILES / f'{stem}.py')!r}, 'exec'))"),
        ("state", f"LoadState({str(STATE_FILES / f'{stem}.pvsm')!r})"),
    ):
        code = SHOWN.format(open=code, picture=str(folder / kind))
        done = run_pvpython(code, display=True)
        assert done.errors == [], done.text
        words = ("basins", "headings", "TTK Tracking", "Basin Tracking")
        found[kind] = sorted(line for line in done.text.splitlines() if line.startswith(words))
        files = sorted(folder.glob(f"{kind}*.png"))
        found[f"pictures of {kind}"] = [Image.open(file).convert("RGB") for file in files]
    assert found["script"] == found["state"]
    pictures = found["pictures of script"]
    for one, other in zip(pictures, found["pictures of state"], strict=True):
        assert max(ImageStat.Stat(ImageChops.difference(one, other)).mean) < 2.0
    return found["script"], [np.asarray(picture, dtype=int) for picture in pictures]


def is_blue(pixels):
    return pixels[..., 2] - pixels[..., 0] > 60


def test_distances_of_trees_are_a_map_and_an_embedding_in_script_and_state(run_pvpython, tmp_path):
    _, (pixels,) = of_state_and_script(run_pvpython, tmp_path, "ttk_distances")
    dark = pixels[..., 2] - pixels[..., 0] > 60
    assert dark[:, :400].sum() > 5000, "the map"
    assert 20 < dark[:, 400:700].sum() < 2000, "the points of the embedding"


def test_barycentres_of_a_training_are_profiles_in_script_and_state(run_pvpython, tmp_path):
    lines, (pixels,) = of_state_and_script(run_pvpython, tmp_path, "ttk_clusters")
    for half in (pixels[:, :400], pixels[:, 400:]):
        assert is_blue(half).sum() > 2000
    assert lines[-1] == (
        "headings ['barycentre of steps 0, 5, 10, 20, 40', 'barycentre of steps 80, 160, 320']"
    )


def test_key_steps_of_a_training_are_profiles_in_script_and_state(run_pvpython, tmp_path):
    lines, (pixels,) = of_state_and_script(run_pvpython, tmp_path, "ttk_key_steps")
    assert lines[-1] == "headings ['step 0', 'step 320', 'step 40', 'step 80']"
    assert sum(line.startswith("basins") for line in lines) == 4
    for quarter in (pixels[:225, :350], pixels[:225, 350:], pixels[225:, :350], pixels[225:, 350:]):
        assert is_blue(quarter).sum() > 500


def test_both_kinds_of_tracks_are_in_script_and_state(run_pvpython, tmp_path):
    lines, pictures = of_state_and_script(run_pvpython, tmp_path, "ttk_tracking")
    assert [line.rpartition(" ")[0] for line in lines[:2]] == ["Basin Tracking", "TTK Tracking"]
    assert all(int(line.rpartition(" ")[2]) > 8 for line in lines[:2])
    assert len(pictures) == 2


def test_key_steps_and_tracks_of_a_training(run_pvpython, tmp_path):
    passes(
        run_pvpython,
        """
from tlp_core import Landscape
from tlp_paraview import ensemble_views, ttk_views, views

x = np.linspace(-1, 1, 11)
for step, place in enumerate((0.5, 0.52, 0.54, 0.9)):
    losses = (np.square(x)[:, None] - place**2) ** 2 + np.square(x) + 0.1 * x[:, None]
    Landscape(losses, np.ones(2), np.ones(losses.shape, dtype=bool)).save(f"step_{step}.zarr")
reader = simple.TLPLandscapeReader(FileName=["step_*.zarr"])
training = pipeline.build(reader, use_ttk=False)
steps = ttk_views.key_steps(ensemble_views.tree_ensemble([training]))
assert {0.0, 3.0} <= set(steps) < {0.0, 1.0, 2.0, 3.0}, steps
layout = ttk_views.show_tracks(training)
tracks = FindSource("TTK Tracking").PointData["ConnectedComponentId"].GetRange(0)
assert tracks[0] == 0.0, tracks  # of the second minimum; the first has no finite pair
one = simple.TLPLandscapeReader(FileName=["step_0.zarr"])
Landscape(losses, np.ones(2), np.ones(losses.shape, dtype=bool), {"nearest": 0.1}).save("geo.zarr")
geometric = simple.TLPLandscapeReader(FileName=["geo.zarr"])
Landscape(losses * 0, np.ones(2), np.ones(losses.shape, dtype=bool)).save("flat.zarr")
flat = pipeline.build(simple.TLPLandscapeReader(FileName=["flat.zarr"]), use_ttk=False)
alone = pipeline.build(one, use_ttk=False)
three = pipeline.build(simple.TLPLandscapeReader(FileName=[f"step_{i}.zarr" for i in range(3)]))
ensemble = ensemble_views.tree_ensemble
assert ttk_views.key_steps(ensemble([three])) == [0.0, 1.0, 2.0]
assert ttk_views.key_steps(ensemble([training]), removed=0.2) == [0.0, 1.0, 2.0, 3.0]
for refused, rule in (
    (lambda: ttk_views.show_tracks(alone), "on an even grid in two directions"),
    (lambda: ttk_views.show_tracks(pipeline.build(geometric, use_ttk=False)), "on an even grid"),
    (lambda: ttk_views.show_tracks(pipeline.build(reader)), "use_ttk=False"),
    (lambda: ttk_views.show_tracks(training, threshold=2), "threshold must be a fraction"),
    (lambda: ttk_views.key_steps(ensemble([training]), removed=0), "removed must be a fraction"),
    (lambda: ttk_views.key_steps(ensemble([alone, flat])), "those of tree 1 are all 0"),
    (lambda: ttk_views.show_distances(ensemble([alone])), "at least two trees to be"),
    (lambda: ttk_views.show_distances(ensemble([alone, flat])), "those of tree 1 are all 0"),
    (lambda: ttk_views.show_clusters(ensemble([alone, flat])), "those of tree 1 are all 0"),
    (lambda: ttk_views.show_clusters(ensemble([training]), 5), "number of trees, 4, got 5"),
    (lambda: ttk_views.show_clusters(ensemble([training]), threshold=-1), "be a fraction"),
    (lambda: ttk_views.show_clusters(ensemble([training]), 1, logarithmic=True), "above 0, and"),
):
    try:
        refused()
    except ValueError as error:
        assert rule in str(error), error
    else:
        raise AssertionError(rule)
views.close_views()
""",
        display=True,
    )
