"""The page of results: its tables are those of the rows in the repository."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.paraview_programs import ROOT
from tlp_core import Landscape
from tlp_core.cli.main import main
from tlp_core.experiments import EXPERIMENTS, named_experiment
from tlp_core.experiments.page import page_of, remake_page, tables_of
from tlp_core.experiments.rows import read_rows

PAGE = ROOT / "state_files" / "experiments.md"
RESULTS = ROOT / "state_files" / "experiments"


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    """Return a page that was made from the rows alone, and its claims."""
    page = tmp_path_factory.mktemp("page") / "experiments.md"
    for folder in RESULTS.iterdir():
        copy = page.with_suffix("") / folder.name
        copy.mkdir(parents=True)
        for file in ("rows.csv", "experiment.json", "training.csv"):
            if (folder / file).exists():
                shutil.copy(folder / file, copy)
    lines = PAGE.read_text(encoding="utf-8").splitlines(keepends=True)
    page.write_text("".join(line for line in lines if not line.startswith("| ")), encoding="utf-8")
    return page, remake_page(page)


def tables_in(text):
    return [line for line in text.splitlines() if line.startswith("| ")]


def test_every_experiment_with_rows_is_in_the_page():
    names = {path.name for path in RESULTS.iterdir() if path.is_dir()}
    assert names == {table.name for table in tables_of(PAGE)}


def test_the_tables_of_the_page_are_those_of_the_rows(remade):
    page, claims = remade
    written = page.read_text(encoding="utf-8")
    original = PAGE.read_text(encoding="utf-8")
    for name in claims:
        ends = (f"<!-- claims of {name}", f"<!-- end of {name} -->")
        one, other = (
            text.partition(ends[0])[2].partition(ends[1])[0] for text in (written, original)
        )
        assert one == other
        assert len(tables_in(one)) == len(claims[name]) + 1


def test_the_tables_of_numbers_are_those_of_the_rows(remade):
    pattern = re.compile("<!-- table of .*?<!-- end of the table -->", re.DOTALL)
    made, kept = (pattern.findall(page.read_text(encoding="utf-8")) for page in (remade[0], PAGE))
    assert made == kept
    assert len(kept) == 4
    assert all(len(tables_in(table)) > 3 for table in kept)


@pytest.mark.parametrize("block", [0, 29])
def test_the_table_of_a_language_model_is_that_of_its_landscapes(block):
    landscape = Landscape.open(RESULTS.parent / "smollm2" / f"block_{block}.zarr")
    facts, lowest = landscape.provenance, landscape.loss.min()
    place = np.unravel_index(landscape.loss.argmin(), landscape.shape)
    alphas = [landscape.axis(axis)[i] for axis, i in enumerate(place)]
    where = f"α = ({alphas[0]:.4f}, {alphas[1]:g}); {landscape.center:.4g}"
    cells = (
        str(block),
        ", ".join(f"{value:.3g}" for value in facts["eigenvalues"]),
        ", ".join(f"{value:.1g}" for value in facts["residuals"]),
        ", ".join(f"{half:.3g}" for half in landscape.distance),
        f"{lowest:.4g} at {where if any(alphas) else 'the model'}",
    )
    assert f"| {' | '.join(cells)} |" in PAGE.read_text(encoding="utf-8")


def test_the_files_of_claims_are_those_of_the_page(remade):
    page, claims = remade
    for name in claims:
        made, kept = page.with_suffix("") / name, RESULTS / name
        assert (made / "claims.md").read_bytes() == (kept / "claims.md").read_bytes()
        tables = [read_rows(folder / "claims.csv") for folder in (made, kept)]
        for one, other in zip(*tables, strict=True):  # the last digits depend on the threads
            assert one == {
                k: pytest.approx(v, rel=1e-6, nan_ok=True) if isinstance(v, float) else v
                for k, v in other.items()
            }


def test_the_claims_of_all_tables_are_corrected_together(remade):
    """By Holm's method, the smallest p-value is multiplied by the number of all tests."""
    every = [claim for claims in remade[1].values() for claim in claims]
    tested = [claim for claim in every if claim.p == claim.p]
    smallest = min(tested, key=lambda claim: claim.p)
    assert smallest.p_holm == pytest.approx(min(1.0, smallest.p * len(tested)))
    most = max(sum(claim.p == claim.p for claim in claims) for claims in remade[1].values())
    assert len(tested) > most


def test_every_column_of_a_chart_is_in_the_rows():
    """A column without values has no chart, which a misspelt name would hide."""
    for name in EXPERIMENTS:
        experiment = named_experiment(name)
        columns = read_rows(RESULTS / name / "rows.csv")[0].keys()
        charted = {column for figure in experiment.figures for column in figure}
        assert charted | set(experiment.series) <= columns, name


def test_a_run_in_the_folder_of_a_page_says_that_its_claims_are_corrected_alone(
    tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "page" / "grokking"
    folder.mkdir(parents=True)
    for file in ("rows.csv", "experiment.json"):
        shutil.copy(RESULTS / "grokking" / file, folder)
    (tmp_path / "page.md").write_text("<!-- claims of grokking --size medium -->\n")
    monkeypatch.chdir(folder)
    gather = ["experiment", "grokking", "--size", "medium", "--gather", "-o", "."]
    assert main(gather) == 0
    assert f"only; run: tlp page {tmp_path / 'page.md'}" in capsys.readouterr().err


def test_other_folders_and_files_are_not_those_of_a_page(tmp_path):
    assert page_of(Path("/grokking"), "grokking") is None
    assert page_of(tmp_path / "page" / "grokking", "grokking") is None
    (tmp_path / "page.md").write_bytes(b"\xff <!-- claims of pinn -->\n")
    assert page_of(tmp_path / "page" / "grokking", "grokking") is None


def test_text_around_the_tables_stays(tmp_path, capsys):
    folder = tmp_path / "page" / "grokking"
    folder.mkdir(parents=True)
    for file in ("rows.csv", "experiment.json"):
        shutil.copy(RESULTS / "grokking" / file, folder)
    page = tmp_path / "page.md"
    start = "<!-- claims of grokking --size medium -->"
    page.write_text(
        f"![](page/grokking/training_2D.png)\n{start}\nformer\n<!-- end of grokking -->\nafter\n"
    )
    assert main(["page", str(page)]) == 0
    text = page.read_text()
    assert text.startswith(f"![](page/grokking/training_2D.png)\n{start}\n\n| claim |")
    assert text.endswith("|\n\n<!-- end of grokking -->\nafter\n")
    assert "former" not in text
    assert "rows of 610 of 610 landscapes" in capsys.readouterr().err
    assert [path.name for path in folder.glob("*.png")] == ["training_2D.png"]  # that it shows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no table", "must have lines such as '<!-- claims of pinn -->'"),
        ("<!-- claims of pinn -->", "must have a line '<!-- end of pinn -->' below line 1"),
        ("<!-- end of pinn -->\n<!-- claims of pinn -->", "line 1 of .* behind the line of its"),
        (
            2 * "<!-- claims of pinn -->\n<!-- end of pinn -->\n",
            "each experiment once, got pinn, p",
        ),
        (
            "<!-- claims of pinn -->\n<!-- claims of resnet -->\n<!-- end of pinn -->",
            "line 2 of .* must be '<!-- end of pinn -->', got '<!-- claims of resnet",
        ),
        ("<!-- claims of pi-ne -->\n<!-- end of pi-ne -->", "must be one of .* got 'pi-ne'"),
        ("<!-- claims of pinn --fast -->\n<!-- end of pinn -->", "must be --size, --only and"),
        ("<!-- claims of pinn --res 4D=5 -->\n<!-- end of pinn -->", "got '--res'"),
        ("<!-- claims of pinn --only rate -->\n<!-- end of pinn -->", "must be NAME=VALUE"),
        ("<!-- claims of pinn --resolution 4D=x -->\n<!-- end of pinn -->", "must be an integer"),
        ("<!-- claims of pinn --size huge -->\n<!-- end of pinn -->", "are wrong: .*huge"),
        ("<!-- claims of pinn -->\n<!-- end of pinn -->", "must have rows of this experiment"),
    ],
)
def test_a_page_that_cannot_be_made_is_reported(text, message, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{text}\n")
    with pytest.raises(ValueError, match=message):
        remake_page(page)
    assert page.read_text() == f"{text}\n"


def test_a_page_that_is_no_file_is_reported(tmp_path, capsys):
    for page in (tmp_path, tmp_path / "none.md"):
        assert main(["page", str(page)]) == 1
        assert f"the page must be a Markdown file, and {page} is none" in capsys.readouterr().err


def test_words_select_networks_as_in_the_command(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "an example:\n    <!-- claims of NAME -->\n"
        "<!-- claims of pinn --only rate=1.0 rate=0.1 --only seed=1 -->  \n"
        "old\n<!-- end of pinn -->"
    )
    (table,) = tables_of(page)
    assert table.only == {"rate": "1.0,0.1", "seed": "1"}
    assert (table.size, table.first, table.last) == ("full", 2, 4)


def test_nothing_is_written_if_one_table_cannot_be_made(tmp_path):
    folder = tmp_path / "page" / "resnet"
    folder.mkdir(parents=True)
    for file in ("rows.csv", "experiment.json"):
        shutil.copy(RESULTS / "resnet" / file, folder)
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- claims of resnet --size medium -->\n<!-- end of resnet -->\n"
        "<!-- claims of pinn -->\n<!-- end of pinn -->\n"
    )
    with pytest.raises(ValueError, match="must have rows of this experiment"):
        remake_page(page)
    assert sorted(path.name for path in folder.iterdir()) == ["experiment.json", "rows.csv"]
