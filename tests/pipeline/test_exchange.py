import csv
import json

import numpy as np
import pytest

from tlp_core import Landscape, hessian_directions, load_problem, sample_grid, sample_scattered
from tlp_core.cli.main import main
from tlp_core.pipeline.exchange import export_landscape, import_landscape

h5py = pytest.importorskip("h5py")


def height(x, y):
    return 10 + x + 100 * y


def write_surface(path, x, y):
    """As the published code does: a flat index counts x fastest, in an array of shape (nx, ny)."""
    values = -np.ones((len(x), len(y)) if y is not None else len(x))
    mesh = np.meshgrid(x, y) if y is not None else [x, np.zeros_like(x)]
    for index, (s1, s2) in enumerate(zip(mesh[0].ravel(), mesh[1].ravel())):
        if index != 5:
            values.ravel()[index] = height(s1, s2)
    with h5py.File(path, "w") as file:
        file["xcoordinates"] = x
        if y is not None:
            file["ycoordinates"] = y
        file["train_loss"], file["test_loss"] = values, 2 * values


@pytest.mark.parametrize(("nx", "ny"), [(5, 5), (5, 9), (9, 5), (7, None)])
def test_surfaces_of_li_et_al_are_read_at_their_coordinates(tmp_path, nx, ny):
    x = np.linspace(-1, 1, nx)
    y = None if ny is None else np.linspace(-0.5, 0.5, ny)
    write_surface(tmp_path / "s.h5", x, y)
    found = import_landscape(tmp_path / "s.h5")
    assert found.shape == ((nx,) if ny is None else (nx, ny))
    assert found.distance.tolist() == ([1.0] if ny is None else [1.0, 0.5])
    assert (~found.evaluated).sum() == 1
    coordinates = found.coordinates()
    expected = height(coordinates[:, 0], coordinates[:, 1] if ny else 0)
    done = found.evaluated.ravel()
    np.testing.assert_allclose(found.loss.ravel()[done], expected[done])
    assert np.isnan(found.loss.ravel()[~done]).all()
    other = import_landscape(tmp_path / "s.h5", quantity="test_loss")
    np.testing.assert_allclose(other.loss.ravel()[done], 2 * expected[done])


def test_coordinates_that_are_not_centred_make_scattered_samples(tmp_path):
    write_surface(tmp_path / "s.h5", np.linspace(-1, 3, 5), np.linspace(-1, 1, 3))
    found = import_landscape(tmp_path / "s.h5")
    assert found.points.shape == (15, 2)
    done = found.evaluated
    np.testing.assert_allclose(found.loss[done], height(*found.points[done].T))


@pytest.mark.parametrize("keep", [False, True])
def test_landscapers_axes_are_put_right_unless_asked_not_to(tmp_path, keep):
    axes = [np.linspace(-1, 1, 3)] * 3
    loss = np.arange(27.0).reshape(3, 3, 3)
    np.savez(tmp_path / "l.npz", loss=loss, coordinates=axes)
    found = import_landscape(tmp_path / "l.npz", keep_axis_fault=keep)
    np.testing.assert_array_equal(found.loss, loss.swapaxes(0, 1) if keep else loss)


@pytest.fixture
def landscape():
    problem = load_problem("two-wells", arguments={"n": 3})
    directions = hessian_directions(problem, 3)
    return sample_grid(problem, directions, resolution=5, distance=[0.5, 1.0, 2.0])


def test_image_data_comes_back(landscape, tmp_path):
    pytest.importorskip("vtkmodules")
    export_landscape(landscape, tmp_path / "a.vti")
    again = import_landscape(tmp_path / "a.vti")
    np.testing.assert_array_equal(again.loss, landscape.loss)
    np.testing.assert_allclose(again.distance, landscape.distance)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.vti"]


def test_exports_hold_every_sample(landscape, tmp_path):
    export_landscape(landscape, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["loss"], landscape.loss)
        np.testing.assert_array_equal(file["axis1"], landscape.axis(1))
        assert json.loads(str(file["facts"]))["problem"] == "two wells, 3 parameters"
    export_landscape(landscape, tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert len(rows) == 125
    assert float(rows[7]["loss"]) == landscape.loss.ravel()[7]
    assert [float(rows[7][f"alpha{i}"]) for i in range(3)] == landscape.coordinates()[7].tolist()


def test_a_grid_of_points_is_written_for_vtk(landscape, tmp_path):
    pytest.importorskip("vtkmodules")
    from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridReader

    export_landscape(landscape, tmp_path / "a.vtu")
    reader = vtkXMLUnstructuredGridReader()
    reader.SetFileName(str(tmp_path / "a.vtu"))
    reader.Update()
    assert reader.GetOutput().GetNumberOfPoints() == 125
    assert reader.GetOutput().GetPointData().HasArray("SampleId")


def test_image_data_of_scattered_samples_is_refused(tmp_path):
    pytest.importorskip("vtkmodules")
    problem = load_problem("two-wells")
    scattered = sample_scattered(problem, hessian_directions(problem, 2), count=20, distance=1.0)
    with pytest.raises(ValueError, match="must be of an even grid in at most three directions"):
        export_landscape(scattered, tmp_path / "a.vti")
    export_landscape(scattered, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file["points"], scattered.points)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.h5", b"no hdf5", "must be a surface file"),
        ("a.npz", b"no zip", "must be an .npz file, and is damaged or none"),
        ("a.txt", b"", r"must be one of \.h5, \.npz, \.vti"),
        ("missing.h5", None, "found none at"),
    ],
)
def test_files_of_another_kind_are_reported(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        import_landscape(tmp_path / name)


def test_an_npz_that_holds_code_is_not_run(tmp_path):
    np.savez(tmp_path / "a.npz", loss=np.array([{}], dtype=object), coordinates=[[0.0]])
    with pytest.raises(ValueError, match="holds objects"):
        import_landscape(tmp_path / "a.npz")


def test_the_commands_import_and_export(tmp_path, capsys):
    write_surface(tmp_path / "s.h5", np.linspace(-1, 1, 5), np.linspace(-1, 1, 5))
    store = str(tmp_path / "s.zarr")
    assert main(["import", str(tmp_path / "s.h5"), "-o", store]) == 0
    assert Landscape.open(store).provenance["imported_from"] == "surface of Li et al. 2018"
    assert main(["export", store, "-o", str(tmp_path / "s.csv")]) == 0
    assert "samples=25" in capsys.readouterr().out
    assert main(["export", store, "-o", str(tmp_path / "s.xyz")]) == 1
    assert "must be one of .vtu, .vti, .npz, .csv" in capsys.readouterr().err


def test_every_value_of_an_incomplete_surface_is_kept(tmp_path):
    h5py = pytest.importorskip("h5py")
    losses = np.linspace(1, 2, 51)
    losses[7] = -1  # not computed
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["xcoordinates"], file["train_loss"] = np.linspace(-1, 1, 51), losses
    import_landscape(tmp_path / "s.h5").save(tmp_path / "s.zarr")
    found = Landscape.open(tmp_path / "s.zarr")
    assert found.evaluated.sum() == 50
    assert not found.evaluated[7]
    np.testing.assert_array_equal(found.loss[found.evaluated], np.delete(losses, 7))
    assert np.isnan(found.loss[7])


@pytest.mark.parametrize(
    ("loss", "coordinates", "message"),
    [
        (np.ones(3), [[0.0, np.nan, 1.0]], "distinct finite coordinates along each direction"),
        (np.ones(3), [[0.0, 0.0, 1.0]], "distinct finite coordinates along each direction"),
        (np.ones(()), np.ones((0, 1)), "must have an axis for each of 0"),
        (np.ones(3) * 1j, [[-1.0, 0.0, 1.0]], "must hold real numbers, got complex128"),
        (np.array(["a", "b"]), [[0.0, 1.0]], "must hold real numbers, got <U1"),
    ],
)
def test_values_that_are_no_landscape_are_refused(tmp_path, loss, coordinates, message):
    np.savez(tmp_path / "a.npz", loss=loss, coordinates=coordinates)
    with pytest.raises(ValueError, match=message):
        import_landscape(tmp_path / "a.npz")


def test_an_import_without_a_sample_at_the_model_has_no_center(tmp_path):
    for axis in (np.linspace(-1, 1, 4), np.linspace(0.5, 1.5, 5)):
        np.savez(tmp_path / "a.npz", loss=np.arange(len(axis)), coordinates=[axis])
        assert np.isnan(import_landscape(tmp_path / "a.npz").center)
    np.savez(tmp_path / "a.npz", loss=np.arange(3), coordinates=[[-0.5, 0.0, 2.0]])
    assert import_landscape(tmp_path / "a.npz").center == 1.0


def test_a_truncated_npz_is_one_sentence(tmp_path):
    np.savez(tmp_path / "a.npz", loss=np.ones(3), coordinates=[[-1.0, 0.0, 1.0]])
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is damaged or none"):
        import_landscape(tmp_path / "a.npz")


def test_an_h5_that_reads_another_file_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(b"0123456789abcdef01234567")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["xcoordinates"] = [-1.0, 0.0, 1.0]
        outside = [(str(tmp_path / "secret"), 0, 24)]
        file.create_dataset("train_loss", (3,), "f8", external=outside)
    with pytest.raises(ValueError, match="must hold its own values, and 'train_loss' lies in"):
        import_landscape(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["train_loss"], file["xcoordinates"] = np.ones(3), [-1.0, 0.0, 1.0]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["xcoordinates"] = [-1.0, 0.0, 1.0]
        file["train_loss"] = h5py.ExternalLink("b.h5", "train_loss")
    with pytest.raises(ValueError, match="must hold its own values, and 'train_loss' lies in"):
        import_landscape(tmp_path / "a.h5")
