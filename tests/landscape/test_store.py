import json

import numpy as np
import pytest

from tlp_core import Landscape
from tlp_core.landscape.store import LandscapeStore

DISTANCE = np.array([1.0, 2.0, 3.0])


def make(path, provenance=None, shape=(3, 5, 7)):
    given = (path, shape, DISTANCE, provenance or {"seed": 0})
    return LandscapeStore.resume(*given) or LandscapeStore.create(*given)


def test_chunks_cover_the_grid_once():
    for shape in ((5,), (3, 5), (3, 5, 7), (3, 3, 5, 7)):
        seen = np.zeros(shape, dtype=int)
        for chunk in LandscapeStore.in_memory(shape, np.ones(len(shape))).chunks():
            seen[chunk] += 1
        assert (seen == 1).all()


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_is_written_is_read_and_marked(tmp_path, on_disk):
    store = make(tmp_path / "a.zarr") if on_disk else LandscapeStore.in_memory((3, 5, 7), DISTANCE)
    first, second, third = store.chunks()
    store.write(second, np.full((1, 5, 7), 4.0))
    store.write(third, np.full((1, 5, 7), np.nan))
    loss, evaluated = store.read()
    assert evaluated.sum(axis=(1, 2)).tolist() == [0, 35, 35]
    assert np.isnan(loss[0]).all()
    assert (loss[1] == 4.0).all()
    assert np.isnan(loss[2]).all()
    assert not store.is_done(first)
    if on_disk:
        again = LandscapeStore.open(tmp_path / "a.zarr")
        assert [again.is_done(chunk) for chunk in again.chunks()] == [False, True, True]


def test_an_unfinished_landscape_opens(tmp_path):
    store = make(tmp_path / "a.zarr")
    store.write(next(store.chunks()), np.zeros((1, 5, 7)))
    landscape = Landscape.open(tmp_path / "a.zarr")
    assert not landscape.is_complete
    assert landscape.evaluated.sum() == 35


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"provenance": {"seed": 1}}, "its seed is 0 instead of 1"),
        ({"provenance": {"seed": 0, "device": "cuda"}}, "its device is None instead of cuda"),
        ({"shape": (3, 5, 9)}, r"its shape is \[3, 5, 7\] instead of \[3, 5, 9\]"),
    ],
)
def test_a_store_of_another_landscape_is_refused_with_the_difference(tmp_path, options, message):
    make(tmp_path / "a.zarr")
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "a.zarr", **options)


def test_diagnostics_do_not_tell_landscapes_apart(tmp_path):
    before = {"seed": 0, "hessian_vector_products": 40}
    store = make(tmp_path / "a.zarr", before)
    store.write(next(store.chunks()), np.zeros((1, 5, 7)))
    after = {"seed": 0, "hessian_vector_products": 39, "hessian_asymmetry": 1e-9}
    again = make(tmp_path / "a.zarr", {**after, "evaluation": {"engine": "batched"}})
    assert again.read()[1].sum() == 35


def test_a_missing_store_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="found none at"):
        Landscape.open(tmp_path / "missing.zarr")


def test_a_path_that_is_no_store_is_reported(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="a landscape must be a Zarr group"):
        Landscape.open(tmp_path / "folder")


def test_a_later_schema_is_reported(tmp_path):
    make(tmp_path / "a.zarr")
    file = tmp_path / "a.zarr" / "zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["tlp_schema"] = 2
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must have schema 1, got 2; update the suite"):
        Landscape.open(tmp_path / "a.zarr")


def test_a_file_is_no_landscape(tmp_path):
    (tmp_path / "plain.zarr").write_text("no")
    with pytest.raises(ValueError, match=r"must be a folder, NAME\.zarr, and .* is a file"):
        LandscapeStore.open(tmp_path / "plain.zarr")


def test_a_damaged_landscape_is_named(tmp_path):
    whole = Landscape(np.ones((3, 5)), np.ones(2), np.ones((3, 5), dtype=bool))
    whole.save(tmp_path / "a.zarr")
    (tmp_path / "a.zarr/zarr.json").write_text('{"')
    with pytest.raises(ValueError, match=r"a\.zarr is not: .*; delete it if it is damaged"):
        Landscape.open(tmp_path / "a.zarr")


def chunk_files(store):
    return sorted(path for path in (store / "loss/c").rglob("*") if path.is_file())


def test_a_damaged_chunk_is_named_and_the_others_can_be_read(tmp_path):
    make(tmp_path / "a.zarr", shape=(3, 5, 7))
    store = LandscapeStore.open(tmp_path / "a.zarr")
    losses = np.random.default_rng(0).random((3, 5, 7))
    for chunk in store.chunks():
        store.write(chunk, losses[chunk])
    damaged = chunk_files(tmp_path / "a.zarr")[1]
    damaged.write_bytes(b"junk")
    with pytest.raises(ValueError, match=rf"damaged in 1 chunks, first {damaged}; delete"):
        Landscape.open(tmp_path / "a.zarr")
    with pytest.warns(UserWarning, match="they count as missing"):
        found = Landscape.open(tmp_path / "a.zarr", skip_damaged=True)
    assert found.evaluated.sum() == 2 * 5 * 7
    np.testing.assert_array_equal(found.loss[found.evaluated], losses[found.evaluated])
    damaged.unlink()
    assert Landscape.open(tmp_path / "a.zarr").evaluated.sum() == 2 * 5 * 7


def test_no_flipped_bit_changes_a_loss(tmp_path):
    losses = np.random.default_rng(0).random((9, 9))
    Landscape(losses, np.ones(2), np.ones((9, 9), dtype=bool)).save(tmp_path / "a.zarr")
    (file,) = chunk_files(tmp_path / "a.zarr")
    content, rng = file.read_bytes(), np.random.default_rng(1)
    for _ in range(400):
        place, bit = rng.integers(len(content)), rng.integers(8)
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(bit)
        file.write_bytes(bytes(flipped))
        with pytest.raises(ValueError, match="is damaged in 1 chunks"):
            Landscape.open(tmp_path / "a.zarr")
