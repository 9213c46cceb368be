import json

import pytest
import torch

from tlp_core.landscape.series import find_checkpoints, find_landscapes, member_at


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def steps(members):
    return {member.path.name: member.step for member in members}


def test_steps_are_the_numbers_in_the_names_in_their_order(tmp_path):
    touch(tmp_path, "net_9.pt", "net_10.pt", "net_100.pth", "notes.txt")
    found = find_checkpoints([tmp_path])
    assert [(m.path.name, m.step) for m in found] == [
        ("net_9.pt", 9),
        ("net_10.pt", 10),
        ("net_100.pth", 100),
    ]
    assert member_at(found, 99.5) == found[1]
    assert member_at(found, 3) == member_at(found, None) == found[0]
    assert member_at(found, 1e9) == found[2]


@pytest.mark.parametrize(
    ("names", "expected", "rule"),
    [
        (  # Lightning's own naming
            ["epoch=01-val_loss=0.93", "epoch=02-val_loss=0.07", "epoch=10-val_loss=0.5"],
            [1, 2, 10],
            "'epoch'",
        ),
        (["epoch=1-step=938", "epoch=2-step=1876"], [938, 1876], "'step'"),
        (["beta10_step5_3D_r41", "beta10_step50_3D_r41"], [5, 50], "'step'"),
        (["ep1-iter_300-acc0.91", "ep2-iter_600-acc0.12"], [300, 600], "'step'"),
        (["net_1-loss=3.5", "net_2-loss=0.25"], [1, 2], "the last number"),
        (["net-0.93-1", "net-0.07-2"], [1, 2], "the last number"),
        (["seed3_run1", "seed3_run2"], [1, 2], "the last number"),
        (["checkpoint-500-seed1", "checkpoint-1000-seed1"], [500, 1000], "'checkpoint'"),
    ],
)
def test_the_field_that_holds_the_step_counts(tmp_path, caplog, names, expected, rule):
    caplog.set_level("INFO", logger="tlp_core")
    touch(tmp_path, *(f"{name}.ckpt" for name in names))
    found = find_checkpoints([tmp_path])
    assert [(m.path.stem, m.step) for m in found] == list(zip(names, expected))
    assert rule in caplog.text


@pytest.mark.parametrize("ending", [".ckpt", ".pt", ".pth"])
def test_the_step_inside_the_file_counts_where_names_hold_none(ending, tmp_path):
    for name, step in (("early", 30), ("late", 7)):
        torch.save({"global_step": step, "state_dict": {}}, tmp_path / f"{name}{ending}")
    found = steps(find_checkpoints([tmp_path]))
    assert found == {f"early{ending}": 30, f"late{ending}": 7}


def test_snapshots_of_a_hub_are_no_steps(tmp_path):
    hashes = (
        "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
        "ffb2c3d4e5f60718293a4b5c6d7e8f90123456e1",
    )
    for snapshot in hashes:
        touch(tmp_path, f"{snapshot}/model.safetensors")
    assert [m.step for m in find_checkpoints([tmp_path])] == [0, 1]
    for snapshot, step in zip(hashes, (2000, 1000)):
        state = tmp_path / snapshot / "trainer_state.json"
        state.write_text(json.dumps({"global_step": step}))
    assert [m.step for m in find_checkpoints([tmp_path])] == [1000, 2000]


def test_the_number_that_differs_counts(tmp_path):
    touch(tmp_path, "epoch2_beta30.pt", "epoch7_beta30.pt")
    assert steps(find_checkpoints([tmp_path])) == {"epoch2_beta30.pt": 2, "epoch7_beta30.pt": 7}


def test_a_name_without_a_number_is_omitted_with_a_warning(tmp_path):
    touch(tmp_path, "step1.ckpt", "step2.ckpt", "last.ckpt")
    with pytest.warns(UserWarning, match="omitted, because their names hold no step: last"):
        found = find_checkpoints([tmp_path / "*.ckpt"])
    assert steps(found) == {"step1.ckpt": 1, "step2.ckpt": 2}


def test_files_without_numbers_are_counted(tmp_path):
    touch(tmp_path, "early.pt", "late.pt")
    assert steps(find_checkpoints([tmp_path])) == {"early.pt": 0, "late.pt": 1}
    touch(tmp_path, "a/run1.pt", "b/run1.pt")
    with pytest.warns(UserWarning, match="steps are counted"):
        found = find_checkpoints([tmp_path / "a/run1.pt", tmp_path / "b/run1.pt"])
    assert [m.step for m in found] == [0, 1]


def test_folders_of_weights_as_a_trainer_writes_them(tmp_path):
    for step in (500, 1000):
        touch(tmp_path, f"checkpoint-{step}/model.safetensors", f"checkpoint-{step}/optimizer.pt")
    found = find_checkpoints([tmp_path])
    assert [(m.step, m.path.name) for m in found] == [
        (500, "checkpoint-500"),
        (1000, "checkpoint-1000"),
    ]


def test_landscapes_in_a_folder_and_by_themselves(tmp_path):
    touch(tmp_path, "s_2.zarr/zarr.json", "s_1.zarr/zarr.json")
    assert [m.step for m in find_landscapes([tmp_path])] == [1, 2]
    (one,) = find_landscapes([tmp_path / "s_2.zarr" / "zarr.json"])
    assert one.path == tmp_path / "s_2.zarr"


@pytest.mark.parametrize("find", [find_checkpoints, find_landscapes])
def test_a_place_without_files_is_reported(tmp_path, find):
    with pytest.raises(FileNotFoundError, match="must be files, a folder of them or a pattern"):
        find([tmp_path])
    with pytest.raises(FileNotFoundError, match=r"found none at .*no\*\.pt"):
        find([tmp_path / "no*.pt"])


def test_a_file_that_is_missing_is_a_step(tmp_path):
    touch(tmp_path, "s1.pt")
    found = find_checkpoints([tmp_path / "s1.pt", tmp_path / "s2.pt"])
    assert [m.step for m in found] == [1, 2]
