"""Hostile files: each is one sentence, takes no memory, and nothing outside the file is read."""

import io
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
import torch
import zarr
from torch import nn

from tlp_core import Landscape, Problem, random_directions
from tlp_core.cli.main import main
from tlp_core.directions.base import Directions
from tlp_core.landscape.exchange import read_landscaper
from tlp_core.untrusted_files import read_npz

HUGE = (10**5, 10**5, 10**5)


def npy_of(array, claimed=None):
    """Bytes of an .npy file whose header may claim another shape."""
    stream = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": claimed or array.shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + array.tobytes()


def write_npz(path, claimed=None, **arrays):
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", npy_of(array, (claimed or {}).get(name)))
    return path


@pytest.fixture
def problem():
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    x = torch.ones(4, 3, dtype=torch.float64)
    return Problem(model, lambda m, b: m(b).square().mean(), [x], name="linear")


@pytest.fixture
def saved(problem, tmp_path):
    """The arrays of a good directions file."""
    path = tmp_path / "good.npz"
    random_directions(problem, 2).save(path)
    Directions.load(path, problem.model)
    return read_npz(path)


def without(content, key):
    return {name: array for name, array in content.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {**c, "direction0/weight": c["direction0/weight"] * np.nan}, "must be finite"),
        (
            lambda c: {**c, "direction0/weight": c["direction0/weight"].T.copy()},
            r"of shape \(2, 3\), got float64 of shape \(3, 2\)",
        ),
        (lambda c: {**c, "direction0/weight": c["direction0/weight"] + 1j}, "got complex128"),
        (lambda c: without(c, "direction1/bias"), r"lacks \['direction1/bias'\]"),
        (lambda c: {**c, "direction0/other": np.ones(2)}, r"has \['direction0/other'\], which is"),
        (lambda c: {**c, "direction-1/bias": np.ones(2)}, "which is unknown"),
        (lambda c: {**c, "eigenvalues": np.ones(0)}, "which is unknown"),
        (lambda c: {"facts": c["facts"], "eigenvalues": np.ones(0)}, "it lacks"),
        (lambda c: without(c, "facts"), "'facts' is missing"),
        (lambda c: {**c, "facts": np.array("[1, 2]")}, "must hold directions of this network"),
        (lambda c: {**c, "facts": np.array("{}")}, "'facts' is missing"),
        (lambda c: {**c, "residuals": np.ones(5)}, "residuals must be 2 numbers"),
    ],
)
def test_directions_that_do_not_fit_are_one_sentence(problem, saved, tmp_path, change, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **change(saved))
    with pytest.raises(ValueError, match=message) as caught:
        Directions.load(path, problem.model)
    assert "\n" not in str(caught.value)


def test_directions_of_some_parameters_need_only_those(problem, tmp_path):
    path = tmp_path / "some.npz"
    random_directions(problem, 2, parameters="bias").save(path)
    assert list(Directions.load(path, problem.model).vectors[0]) == ["bias"]


@pytest.mark.parametrize("read", [read_npz, read_landscaper], ids=lambda f: f.__name__)
def test_headers_that_claim_more_than_there_is_take_no_memory(read, tmp_path):
    small = np.ones(4)
    for claim, message in ((HUGE, "fits into memory, and claims the shape"), ((5,), "hold all of")):
        path = write_npz(tmp_path / "a.npz", {"loss": claim}, loss=small, coordinates=small)
        with pytest.raises(ValueError, match=message):
            read(path)
    whole = write_npz(tmp_path / "b.npz", loss=small, coordinates=small).read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 10):
        (tmp_path / "c.npz").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is damaged or none"):
            read(tmp_path / "c.npz")


def test_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", loss=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="holds objects"):
        read_npz(tmp_path / "a.npz")


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "a.zarr"
    Landscape(np.arange(9.0).reshape(3, 3), np.ones(2), np.ones((3, 3), bool), {"a": 1}).save(path)
    return path


def edited(path, change):
    file = path / "zarr.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def replace_by_a_group(path):
    shutil.rmtree(path / "loss")
    shutil.copytree(path, path / "loss")


def test_a_store_opens_while_another_process_renames_a_file(store, monkeypatch):
    temporary = [(str(store), [], [".0.0123abcd"])]
    monkeypatch.setattr(os, "walk", lambda place: iter(temporary))
    assert Landscape.open(store).is_complete


def link_a_chunk(path):
    chunk = next(p for p in (path / "loss" / "c").rglob("*") if p.is_file())
    chunk.unlink()
    chunk.symlink_to("/etc/passwd")


def without_checksum_and_linked(path):
    """An uncompressed chunk would show any file as losses."""
    edited(path / "loss", lambda c: c.update(codecs=[{"name": "bytes", "configuration": {}}]))
    link_a_chunk(path)


def _add_array(path, name, values):
    zarr.open_group(path, mode="r+").create_array(name, data=values)


STORES = {
    "no facts": (lambda p: edited(p, lambda c: c["attributes"].pop("facts")), "'facts' is missing"),
    "facts": (lambda p: edited(p, lambda c: c["attributes"].update(facts=5)), "not iterable"),
    "no schema": (
        lambda p: edited(p, lambda c: c["attributes"].pop("tlp_schema")),
        "'tlp_schema' is missing",
    ),
    "a group": (replace_by_a_group, "must be a Zarr group that this suite wrote"),
    "too large": (
        lambda p: edited(p / "loss", lambda c: c.update(shape=[10**8, 10**7])),
        "fits into memory, and claims the shape 100000000x10000000",
    ),
    "many chunks": (
        lambda p: edited(
            p / "loss",
            lambda c: c.update(
                shape=[10**4, 10**4],
                chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1, 1]}},
            ),
        ),
        "too many",
    ),
    "another type": (
        lambda p: edited(p / "loss", lambda c: c.update(data_type="int64", fill_value=0)),
        "its .loss. is int64",
    ),
    "distances": (
        lambda p: edited(p, lambda c: c["attributes"].update(distance=[1, 1, 1])),
        "it has 3 distances for losses of shape",
    ),
    "nan": (
        lambda p: edited(p, lambda c: c["attributes"].update(distance=["NaN", 1])),
        "its distances are",
    ),
    "no json": (lambda p: (p / "zarr.json").write_text("{"), "must be a Zarr group"),
    "no zarr.json": (lambda p: (p / "zarr.json").unlink(), "has no zarr.json"),
    "a pipe": (lambda p: os.mkfifo(p / "loss" / "c" / "9"), "is a link or device"),
    "chunks of 0": (
        lambda p: edited(
            p / "loss",
            lambda c: c["chunk_grid"].update(configuration={"chunk_shape": [0, 3]}),
        ),
        "must be a Zarr group",
    ),
    "a flat axis": (
        lambda p: edited(p / "loss", lambda c: c.update(shape=[1, 9])),
        "distances for losses of shape",
    ),
    "evaluated of another type": (
        lambda p: _add_array(p, "evaluated", np.ones((3, 3))),
        "its 'evaluated' is float64",
    ),
    "evaluated of another shape": (
        lambda p: _add_array(p, "evaluated", np.ones(10**6, bool)),
        "its 'evaluated' has the shape",
    ),
    "points that are not finite": (
        lambda p: _add_array(p, "points", np.full((3, 2), np.nan)),
        "its points are not finite",
    ),
    "distances as text": (
        lambda p: edited(p, lambda c: c["attributes"].update(distance=["1", "1"])),
        "its distances are",
    ),
    "linked": (link_a_chunk, "is a link or device"),
    "linked bytes": (without_checksum_and_linked, "is a link or device"),
}


@pytest.mark.parametrize(("change", "message"), STORES.values(), ids=STORES)
def test_stores_that_are_none_are_one_sentence(store, change, message, capsys):
    change(store)
    with pytest.raises(ValueError, match=message):
        Landscape.open(store)
    assert main(["info", str(store)]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "Traceback" not in printed


def test_names_in_a_store_do_not_leave_it(store, tmp_path):
    """The arrays have fixed names; a name with ../ in the metadata means nothing."""
    (tmp_path / "secret").write_text("secret")
    edited(store, lambda c: c["attributes"].update(name="../secret"))
    os.makedirs(store / "loss" / "c" / "..hidden")
    assert Landscape.open(store).loss.sum() == 36


def test_surfaces_that_claim_or_reach_for_more_are_one_sentence(tmp_path, capsys):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.h5"
    axis = np.linspace(-1, 1, 5)
    (tmp_path / "raw").write_bytes(b"x" * 200)

    def claim(file):
        file.create_dataset("train_loss", shape=HUGE, dtype="f8", chunks=(1, 1, 100))

    def external(file):
        raw = [(str(tmp_path / "raw"), 0, 200)]
        file.create_dataset("train_loss", shape=(25,), dtype="f8", external=raw)

    def soft(file):
        """A soft link through an external link, which the check of the last link does not see."""
        file["g"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
        file["train_loss"] = h5py.SoftLink("/g/secret")

    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.arange(25.0)
    for add, message in (
        (claim, "fits into memory"),
        (external, "must hold its own values"),
        (lambda file: file.create_group("train_loss"), "it is a group"),
        (soft, "must hold its own values"),
        (lambda file: file.create_dataset("train_loss", data=["a"] * 25), "real numbers"),
        (
            lambda file: file.create_dataset("train_loss", shape=(10**8,), dtype="f8", chunks=True),
            "25 losses",
        ),
    ):
        with h5py.File(path, "w") as file:
            file["xcoordinates"] = file["ycoordinates"] = axis
            add(file)
        assert main(["import", str(path), "-o", str(tmp_path / "b.zarr")]) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "b.zarr").exists()


@pytest.mark.parametrize(
    ("extent", "components", "message"),
    [
        ("0 999999 0 999999 0 9999", 1, "fits into memory"),
        ("0 9999 0 9999 0 9", 1, "must hold all of its image"),
        ("0 2 0 2 0 0", 10**9, "arrays of 1 to 9 components"),
        ("0 2 0 2 0 0", -5, "arrays of 1 to 9 components"),
        ("0 2 0 2 0 0", 1, "must hold image data, and holds none"),
    ],
)
def test_images_that_claim_more_than_there_is_are_one_sentence(
    extent, components, message, tmp_path, capfd
):
    """VTK ends the process where it cannot allocate what an image claims."""
    pytest.importorskip("vtkmodules")
    (tmp_path / "a.vti").write_text(
        f'<VTKFile type="ImageData" version="1.0"><ImageData WholeExtent="{extent}" '
        f'Origin="0 0 0" Spacing="1 1 1"><Piece Extent="{extent}"><PointData>'
        f'<DataArray type="Float64" Name="Loss" NumberOfComponents="{components}" '
        'format="ascii">1 2 3</DataArray></PointData></Piece></ImageData></VTKFile>'
    )
    assert main(["import", str(tmp_path / "a.vti"), "-o", str(tmp_path / "b.zarr")]) == 1
    printed = capfd.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("mode", ["ascii", "binary", "appended base64", "appended raw"])
@pytest.mark.parametrize("header", ["32", "64"])
def test_an_image_that_lacks_values_is_not_filled_from_memory(
    mode, header, is_compressed, tmp_path, capfd
):
    pytest.importorskip("vtkmodules")
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkIOXML import vtkXMLImageDataWriter

    image = vtkImageData()
    image.SetDimensions(9, 9, 1)
    array = numpy_to_vtk(np.random.default_rng(0).random(81), deep=1)
    array.SetName("Loss")
    image.GetPointData().AddArray(array)
    writer = vtkXMLImageDataWriter()
    writer.SetFileName(str(tmp_path / "a.vti"))
    writer.SetInputData(image)
    {"ascii": writer.SetDataModeToAscii, "binary": writer.SetDataModeToBinary}.get(
        mode, writer.SetDataModeToAppended
    )()
    writer.SetEncodeAppendedData(mode != "appended raw")
    {"32": writer.SetHeaderTypeToUInt32, "64": writer.SetHeaderTypeToUInt64}[header]()
    if not is_compressed:
        writer.SetCompressorTypeToNone()
    writer.Write()
    command = ["import", str(tmp_path / "a.vti"), "-o"]
    assert main([*command, str(tmp_path / "whole.zarr")]) == 0
    content = (tmp_path / "a.vti").read_bytes()
    closing = b"</AppendedData>" if "appended" in mode else b"</DataArray>"
    place = content.index(closing)
    (tmp_path / "a.vti").write_bytes(content[: place - 200].rstrip(b"=") + content[place:])
    assert main([*command, str(tmp_path / "short.zarr")]) == 1
    assert not (tmp_path / "short.zarr").exists()
    assert "a.vti must hold" in capfd.readouterr().err


def test_a_store_with_missing_samples_is_not_resumed_and_shows_none_of_them(tmp_path, capsys):
    path = tmp_path / "a.zarr"
    assert main(["sample", "two-wells", "-r", "3", "-q", "-o", str(path)]) == 0
    _add_array(path, "evaluated", np.zeros((3, 3), bool))
    assert np.isnan(Landscape.open(path).loss).all()
    assert main(["sample", "two-wells", "-r", "3", "-q", "-o", str(path)]) == 1
    assert "an imported landscape cannot be resumed" in capsys.readouterr().err


@pytest.mark.parametrize("record", ["x", None, 5, {"name": ["q"]}, {"name": "single", "batch": -4}])
def test_a_damaged_engine_record_is_one_sentence(record, tmp_path, capsys):
    path = tmp_path / "a.zarr"
    sample = ["sample", "two-wells", "-r", "3", "-q", "-o", str(path)]
    assert main(sample) == 0
    edited(path, lambda c: c["attributes"]["facts"].update(evaluation=record))
    next(p for p in (path / "loss" / "c").rglob("*") if p.is_file()).unlink()
    capsys.readouterr()
    assert main(sample) == 1
    assert "a store must record its engine, got" in capsys.readouterr().err.splitlines()[-1]
