"""The page of results: its tables are those of the rows in the repository."""

import shutil

import pytest

from tests.paraview_programs import ROOT
from tlp_core.cli.main import main
from tlp_core.experiments import named_experiment
from tlp_core.experiments.claims import markdown_table, mean
from tlp_core.experiments.page import update_page
from tlp_core.experiments.run import gather_results

PAGE = ROOT / "state_files" / "experiments.md"
RESULTS = ROOT / "state_files" / "experiments"

GATHERED = {
    "pinn": {"size": "full", "only": {"rate": "1.0"}, "resolutions": {"4D": 11}},
    "grokking": {"size": "medium"},
}


def test_every_table_of_the_page_is_tested():
    assert {path.name for path in RESULTS.iterdir() if path.is_dir()} == set(GATHERED)
    assert PAGE.read_text(encoding="utf-8").count("<!-- claims of ") == len(GATHERED)


@pytest.mark.parametrize("name", GATHERED)
def test_the_tables_of_the_page_are_those_of_the_rows(name, tmp_path):
    for file in ("rows.csv", "experiment.json"):
        shutil.copy(RESULTS / name / file, tmp_path / file)
    claims = gather_results(named_experiment(name), tmp_path, **GATHERED[name])
    assert markdown_table(claims) in PAGE.read_text(encoding="utf-8")
    for file in ("claims.csv", "claims.md"):
        assert (tmp_path / file).read_bytes() == (RESULTS / name / file).read_bytes()


def test_a_table_is_replaced_in_its_place(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- claims of one -->\nold\n<!-- end of one -->\nafter\n")
    claims = [mean("a claim", "x", [1.0, 2.0])]
    for _ in range(2):
        update_page(page, "one", claims)
    assert page.read_text() == (
        f"before\n<!-- claims of one -->\n\n{markdown_table(claims)}\n<!-- end of one -->\nafter\n"
    )
    with pytest.raises(ValueError, match="must have one line '<!-- claims of two -->'"):
        update_page(page, "two", claims)


def test_the_command_gathers_rows_into_a_page(tmp_path, capsys):
    for file in ("rows.csv", "experiment.json"):
        shutil.copy(RESULTS / "grokking" / file, tmp_path / file)
    page = tmp_path / "page.md"
    page.write_text("<!-- claims of grokking -->\n<!-- end of grokking -->\n")
    command = ["experiment", "grokking", "--size", "medium", "--gather", "-o", str(tmp_path)]
    assert main([*command, "--page", str(page)]) == 0
    assert "rows of 610 of 610 landscapes" in capsys.readouterr().err
    assert "changes with the transition" in page.read_text()
    assert (tmp_path / "training_2D.png").exists()
