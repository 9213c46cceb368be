import pytest

from tlp_core.landscape.table import arrange, find_runs


def stores(folder, *names):
    for name in names:
        (folder / name).mkdir()
    return [folder / name for name in names]


def test_names_contain_the_parameters(tmp_path):
    places = stores(tmp_path, "beta10_seed1.zarr", "beta9_seed1.zarr", "lr1e-3_seed=2.zarr")
    runs = find_runs(places)
    assert [run.parameters for run in runs] == [
        {"beta": "10", "seed": "1"},
        {"beta": "9", "seed": "1"},
        {"lr": "1e-3", "seed": "2"},
    ]
    table_of_runs = arrange(runs[:2], "beta", "seed")
    assert table_of_runs.rows == ("beta", ["9", "10"])
    assert table_of_runs.columns == ("seed", ["1"])
    assert table_of_runs.cells["10", "1"].path == places[0]
    assert len(find_runs([tmp_path])) == 3


def test_paths_in_a_table_are_relative_to_its_folder(tmp_path):
    table = tmp_path / "runs.csv"
    table.write_text("landscape,optimizer,epoch\na.zarr,adam,5\nb.zarr,sgd,5\n")
    table_of_runs = arrange(find_runs([table]), "optimizer", "epoch")
    assert table_of_runs.rows == ("optimizer", ["adam", "sgd"])
    assert table_of_runs.cells["sgd", "5"].path == tmp_path / "b.zarr"


def test_one_parameter_makes_a_row_or_a_column(tmp_path):
    places = stores(tmp_path, "beta10_seed1.zarr", "beta9_seed1.zarr")
    row = arrange(find_runs(places), columns="beta")
    assert (row.rows, row.columns) == (("", [""]), ("beta", ["9", "10"]))
    assert row.cells["", "10"].path == places[0]
    assert row.heading("", "10") == "beta = 10"
    column = arrange(find_runs(places), rows="beta")
    assert column.cells["9", ""].path == places[1]
    with pytest.raises(ValueError, match="a cell must have one landscape, and seed = 1 has two"):
        arrange(find_runs(places), rows="seed")
    with pytest.raises(ValueError, match="must have rows, columns or both, got neither"):
        arrange(find_runs(places))


def test_wrong_tables_are_reported(tmp_path):
    places = stores(tmp_path, "beta1_seed1.zarr", "beta1_seed1_b2.zarr", "plain.zarr")
    with pytest.raises(ValueError, match="must hold its parameters, such as beta10_seed2"):
        find_runs(places)
    runs = find_runs(places[:2])
    with pytest.raises(ValueError, match="a cell must have one landscape, and beta = 1, seed = 1"):
        arrange(runs, "beta", "seed")
    with pytest.raises(ValueError, match="must have the parameter epoch, got beta, seed"):
        arrange(runs, "beta", "epoch")
    (tmp_path / "empty.csv").write_text("path,beta\n")
    with pytest.raises(ValueError, match="must have rows and a column 'landscape'"):
        find_runs([tmp_path / "empty.csv"])


def test_tables_as_programs_write_them(tmp_path):
    table = tmp_path / "runs.csv"
    table.write_text("landscape,beta,seed\na.zarr,1,0\n", encoding="utf-8-sig")
    assert find_runs([table])[0].parameters == {"beta": "1", "seed": "0"}
    for line in ("a.zarr,1", "a.zarr,1,0,7", ",1,0"):
        table.write_text(f"landscape,beta,seed\n{line}\n")
        with pytest.raises(ValueError, match=r"line 2 of table .* a value for each column"):
            find_runs([table])
    table.write_bytes(b"\xb7\x00")
    with pytest.raises(ValueError, match="must be text in UTF-8"):
        find_runs([table])
    with pytest.raises(ValueError, match="rows and columns must be two parameters, got beta"):
        arrange([], "beta", "beta")
