import json

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from tlp_core import Landscape, random_directions, sample_grid
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


SHAPE = (3, 5, 7)


def filled(path, seed, *, count=3, **options):
    """A store with some chunks of random losses, and these losses."""
    losses = np.random.default_rng(seed).random(SHAPE)
    store = LandscapeStore.create(path, SHAPE, DISTANCE, {"seed": seed}, **options)
    for chunk in list(store.chunks())[:count]:
        store.write(chunk, losses[chunk], *(losses[chunk] + 1 for _ in store.other_losses))
    return losses


def swap(one, other):
    one_content, other_content = one.read_bytes(), other.read_bytes()
    assert one_content != other_content
    one.write_bytes(other_content)
    other.write_bytes(one_content)


def test_swapped_chunks_are_named_and_the_others_can_be_read(tmp_path):
    losses = filled(tmp_path / "a.zarr", 0)
    first, second, _ = chunk_files(tmp_path / "a.zarr")
    swap(first, second)
    with pytest.raises(ValueError, match=rf"damaged in 2 chunks, first {first}; delete"):
        Landscape.open(tmp_path / "a.zarr")
    with pytest.warns(UserWarning, match="damaged in 2 chunks"):
        found = Landscape.open(tmp_path / "a.zarr", skip_damaged=True)
    assert found.evaluated.sum(axis=(1, 2)).tolist() == [0, 0, 35]
    assert np.isnan(found.loss[:2]).all()
    swap(first, second)
    np.testing.assert_array_equal(Landscape.open(tmp_path / "a.zarr").loss, losses)


def test_a_chunk_of_another_store_is_named(tmp_path):
    for seed in (0, 1):
        filled(tmp_path / f"{seed}.zarr", seed)
    copied = chunk_files(tmp_path / "0.zarr")[1]
    copied.write_bytes(chunk_files(tmp_path / "1.zarr")[1].read_bytes())
    with pytest.raises(ValueError, match=rf"damaged in 1 chunks, first {copied}"):
        Landscape.open(tmp_path / "0.zarr")


def test_a_chunk_of_an_equal_run_fits(tmp_path):
    """Such as one that another machine samples again, with other last digits."""
    losses = filled(tmp_path / "a.zarr", 0)
    again = make(tmp_path / "b.zarr", {"seed": 0, "evaluation": {"name": "single"}})
    chunk = list(again.chunks())[1]
    again.write(chunk, losses[chunk] * (1 + 1e-15))
    (file,) = chunk_files(tmp_path / "b.zarr")
    chunk_files(tmp_path / "a.zarr")[1].write_bytes(file.read_bytes())
    found = Landscape.open(tmp_path / "a.zarr")
    assert found.is_complete
    np.testing.assert_allclose(found.loss, losses, rtol=1e-14)


def test_a_chunk_that_is_written_again_is_not_damaged(tmp_path):
    filled(tmp_path / "a.zarr", 0)
    chunk_files(tmp_path / "a.zarr")[1].unlink()
    store = make(tmp_path / "a.zarr")
    store.write(list(store.chunks())[1], np.full((1, 5, 7), 9.0))
    assert (Landscape.open(tmp_path / "a.zarr").loss[1] == 9.0).all()


def test_chunks_of_further_losses_know_their_place(tmp_path):
    losses = filled(tmp_path / "a.zarr", 0, other_losses=["wiki"])
    other = tmp_path / "a.zarr/other_loss_0/c"
    np.testing.assert_array_equal(
        Landscape.open(tmp_path / "a.zarr").other_losses["wiki"], losses + 1
    )
    swap(other / "0/0/0", other / "2/0/0")
    with pytest.raises(ValueError, match="damaged in its losses 'wiki'"):
        Landscape.open(tmp_path / "a.zarr")
    swap(other / "0/0/0", other / "2/0/0")
    swap(other / "1/0/0", chunk_files(tmp_path / "a.zarr")[1])
    with pytest.raises(ValueError, match="damaged in 1 chunks"):
        Landscape.open(tmp_path / "a.zarr")


def test_a_store_of_a_name_that_paraview_does_not_open_is_not_made(small_problem, tmp_path):
    directions = random_directions(small_problem, 1)
    landscape = sample_grid(small_problem, directions, resolution=3, distance=1.0)
    with pytest.raises(ValueError, match=r"must end in \.zarr"):
        landscape.save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"must end in \.zarr"):
        sample_grid(small_problem, directions, resolution=3, distance=1.0, store=tmp_path / "a")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("missing", [0, 1])
def test_saved_landscapes_with_equal_provenance_have_chunks_of_their_own(tmp_path, missing):
    evaluated = np.ones(SHAPE, dtype=bool)
    evaluated[0, 0, :missing] = False
    for seed in (0, 1):
        losses = np.random.default_rng(seed).random(SHAPE)
        Landscape(losses, DISTANCE, evaluated).save(tmp_path / f"{seed}.zarr")
        found = Landscape.open(tmp_path / f"{seed}.zarr")
        np.testing.assert_array_equal(found.loss, np.where(evaluated, losses, np.nan))
    copied = chunk_files(tmp_path / "0.zarr")[0]
    copied.write_bytes(chunk_files(tmp_path / "1.zarr")[0].read_bytes())
    with pytest.raises(ValueError, match=rf"damaged in 1 chunks, first {copied}"):
        Landscape.open(tmp_path / "0.zarr")


@pytest.mark.parametrize("name", ["points", "evaluated"])
def test_points_and_marks_of_another_store_are_reported(tmp_path, name):
    rng = np.random.default_rng(0)
    for path in ("a.zarr", "b.zarr"):
        points, evaluated = rng.uniform(-1, 1, (50, 3)), rng.random(50) < 0.5
        Landscape(rng.random(50), DISTANCE, evaluated, points=points).save(tmp_path / path)
        Landscape.open(tmp_path / path)
    for file in (tmp_path / "b.zarr" / name / "c").rglob("*"):
        if file.is_file():
            copied = tmp_path / "a.zarr" / file.relative_to(tmp_path / "b.zarr")
            copied.write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=f"its '{name}' has other values than when it was made"):
        Landscape.open(tmp_path / "a.zarr")


def test_an_incomplete_store_is_checked_before_it_is_resumed(tmp_path):
    filled(tmp_path / "a.zarr", 0, count=2)
    store = make(tmp_path / "a.zarr")
    store.check_chunks()
    swap(*chunk_files(tmp_path / "a.zarr"))
    with pytest.raises(ValueError, match="damaged in 2 chunks"):
        store.check_chunks()


def store_of_an_earlier_version(path):
    """Two of three chunks, of zstd, as version 0.1.0 writes."""
    group = zarr.create_group(path, zarr_format=3)
    group.attrs.update({"tlp_schema": 1, "distance": DISTANCE.tolist(), "facts": {"seed": 0}})
    codecs = (ZstdCodec(), Crc32cCodec())
    array = group.create_array(
        "loss",
        shape=SHAPE,
        dtype="float64",
        chunks=(1, 5, 7),
        fill_value=np.nan,
        compressors=codecs,
    )
    array[:2] = np.arange(70.0).reshape(2, 5, 7)


def test_a_store_of_an_earlier_version_opens_and_is_resumed(tmp_path):
    store_of_an_earlier_version(tmp_path / "a.zarr")
    assert Landscape.open(tmp_path / "a.zarr").evaluated.sum() == 70
    store = make(tmp_path / "a.zarr")
    store.check_chunks()
    store.write(list(store.chunks())[2], np.arange(70.0, 105.0).reshape(1, 5, 7))
    found = Landscape.open(tmp_path / "a.zarr").loss
    np.testing.assert_array_equal(found, np.arange(105.0).reshape(SHAPE))


def test_a_chunk_of_an_earlier_version_does_not_fit_a_new_store(tmp_path):
    store_of_an_earlier_version(tmp_path / "old.zarr")
    filled(tmp_path / "new.zarr", 0)
    copied = chunk_files(tmp_path / "new.zarr")[1]
    copied.write_bytes(chunk_files(tmp_path / "old.zarr")[1].read_bytes())
    with pytest.raises(ValueError, match=rf"damaged in 1 chunks, first {copied}"):
        Landscape.open(tmp_path / "new.zarr")


def test_zarr_reads_and_writes_the_losses(tmp_path):
    losses = filled(tmp_path / "a.zarr", 0)
    array = zarr.open_array(tmp_path / "a.zarr/loss", mode="r+")
    np.testing.assert_array_equal(array[...], losses)
    array[1] = losses[0]
    np.testing.assert_array_equal(Landscape.open(tmp_path / "a.zarr").loss[1], losses[0])


def test_a_chunk_that_exceeds_the_samples_is_read_by_zarr_and_the_suite(tmp_path):
    points, losses = np.random.default_rng(0).random((1500, 3)), np.arange(1500.0)
    store = LandscapeStore.create(tmp_path / "a.zarr", (1500,), DISTANCE, {}, points)
    for chunk in store.chunks():
        store.write(chunk, losses[chunk])
    np.testing.assert_array_equal(Landscape.open(tmp_path / "a.zarr").loss, losses)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/loss")[...], losses)


@pytest.mark.parametrize(
    ("identity", "codecs", "message"),
    [
        ("loss", None, "its identity is loss"),
        (
            None,
            [{"name": "bytes", "configuration": {"endian": "little"}}],
            "its losses have the codecs bytes",
        ),
    ],
)
def test_an_identity_that_chunks_cannot_have_is_reported(tmp_path, identity, codecs, message):
    filled(tmp_path / "a.zarr", 0)
    group, array = tmp_path / "a.zarr/zarr.json", tmp_path / "a.zarr/loss/zarr.json"
    if identity:
        content = json.loads(group.read_text())
        content["attributes"]["identity"] = identity
        group.write_text(json.dumps(content))
    else:
        array.write_text(json.dumps({**json.loads(array.read_text()), "codecs": codecs}))
    with pytest.raises(ValueError, match=message):
        Landscape.open(tmp_path / "a.zarr")
