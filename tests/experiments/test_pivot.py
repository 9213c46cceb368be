"""Tables of a page that show a column of rows by two others."""

import pytest

from tlp_core.experiments.pivot import fill_tables, pivot_table

ROWS = [
    {"beta": 1, "rate": 0.5, "error": 0.011, "look": "3D"},
    {"beta": 1, "rate": 0.5, "error": 0.25, "look": "3D"},
    {"beta": 10, "rate": 0.5, "error": 1.5, "look": "3D"},
    {"beta": 10, "rate": 1.0, "error": 0.7, "look": "3D"},
    {"beta": 10, "rate": 1.0, "error": 99.0, "look": "4D"},
    {"beta": 10, "rate": 1.0, "look": "3D"},
]
CSV = "beta,rate,error,look\n1,0.5,0.011,3D\n1,0.5,0.25,3D\n"
PLACE = """Before.

<!-- table of run/rows.csv --value error --rows rate --columns beta --where look=3D -->
old
<!-- end of the table -->

After.
"""


@pytest.mark.parametrize(
    ("show", "several"),
    [("range", "0.011 – 0.25"), ("mean", "0.13"), ("smallest", "0.011"), ("largest", "0.25")],
)
def test_values_are_shown_where_they_belong(show, several):
    options = {"value": "error", "rows": "rate", "columns": "beta", "where": {"look": "3D"}}
    assert pivot_table(ROWS, **options, show=show).splitlines() == [
        "| rate, beta | 1 | 10 |",
        "| --- | --- | --- |",
        f"| 0.5 | {several} | 1.5 |",
        "| 1 |  | 0.7 |",
    ]


def test_numbers_are_chosen_by_their_value_and_one_that_is_none_is_shown():
    rows = [
        {"step": step, "kind": "a", "rate": rate, "loss": loss}
        for step, rate, loss in ((0, 1e-05, float("nan")), (0, 1e-05, 0.3), (1, 1.0, 150.0))
    ]
    options = {"value": "loss", "rows": "step", "columns": "kind"}
    for ordered in (rows, rows[::-1]):
        table = pivot_table(ordered, **options, where={"rate": "1.0,0.00001"})
        assert table.splitlines()[2:] == ["| 0 | nan |", "| 1 | 150 |"]
    for rate in ("1", "1.0"):
        assert "| 1 | 150 |" in pivot_table(rows, **options, where={"rate": rate})


def test_a_column_of_numbers_and_words_is_sorted():
    rows = [{"a": a, "b": 1, "c": 2.0} for a in ("word", 3, 1)]
    table = pivot_table(rows, value="c", rows="a", columns="b", where={})
    assert [line.split()[1] for line in table.splitlines()[2:]] == ["1", "3", "word"]


def test_a_table_is_made_again_and_the_text_around_it_stays(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "rows.csv").write_text(CSV)
    text = fill_tables(PLACE, tmp_path)
    assert text.startswith("Before.\n\n<!-- table of run/rows.csv --value error")
    assert text.endswith("<!-- end of the table -->\n\nAfter.\n")
    assert "| 0.5 | 0.011 – 0.25 |" in text
    assert "old" not in text
    assert fill_tables(text, tmp_path) == text
    assert fill_tables(text.replace("3D -->", "3D -->  "), tmp_path).count("| 0.5 |") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("<!-- end of the table -->", ""), "must be followed by '<!-- end of the table -->'"),
        (("rows.csv", "none.csv"), "a table must be made of a file"),
        (("--rows rate ", ""), "must be --value, --rows and --columns"),
        (("--value error", "--value error --bold"), "got --bold"),
        (("look=3D", "look"), "where must be NAME=VALUE"),
        (("look=3D", "look=5D"), "columns error, rate and beta where look is 5D, and none has"),
        (("--value error", "--value mistake"), "columns mistake, rate and beta"),
        (("--where", "--show most --where"), "invalid choice: 'most'"),
    ],
)
def test_wrong_tables_are_reported(change, message, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "rows.csv").write_text(CSV)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        fill_tables(PLACE.replace(*change), tmp_path)
