"""Tests of the page of a training: its contents, and its behaviour in a browser."""

import json
import re
import shutil

import numpy as np
import pytest

from tlp_core import Landscape, describe, landscape_profile
from tlp_core.cli.main import main
from tlp_core.topology.landscape_tree import landscape_tree

pytest.importorskip("plotly")

STEPS = (0, 10, 20)


def losses(step):
    """Two wells, the second of which becomes deeper than the first."""
    x, y = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(-1, 1, 9), indexing="ij")
    wells = np.minimum((x + 0.5) ** 2, (x - 0.5) ** 2 + 0.1 - 0.01 * step)
    return wells + y**2 + 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Landscapes of three steps, beside a table of the training."""
    folder = tmp_path_factory.mktemp("training")
    for step in STEPS:
        loss = losses(step)
        provenance = {"problem": "two </script> & wells"}
        everywhere = np.ones(loss.shape, bool)
        landscape = Landscape(loss, np.array([2.0, 1.0]), everywhere, provenance)
        landscape.save(folder / f"step_{step}.zarr")
    (folder / "descriptors.csv").write_text(
        "step,training loss,learning rate,note\n0,1.5,0.1,a\n10,nan,0.1,b\n15,0.5,0.01,c\n"
    )
    return folder


@pytest.fixture(scope="module")
def page(folder):
    path = folder / "report.html"
    assert main(["report", str(folder), "-o", str(path)]) == 0
    return path


def contents_of(page):
    text = page.read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="contents">(.*?)</script>', text)
    return json.loads(found)


def test_the_page_has_the_basins_and_descriptors_of_each_step(page, folder):
    contents = contents_of(page)
    assert [step["step"] for step in contents["steps"]] == list(STEPS)
    for step in contents["steps"]:
        landscape = Landscape.open(folder / f"step_{step['step']:g}.zarr")
        tree = landscape_tree(landscape)
        basins = landscape_profile(tree).basins
        assert step["minima"] == 2
        assert step["hidden"] == 0
        for basin in step["basins"]:
            b = basin["id"]
            assert basin["size"] == basins.size[b]
            assert basin["persistence"] == pytest.approx(basins.persistence[b], rel=1e-5)
            assert basin["average"] == pytest.approx(basins.average_loss[b], rel=1e-5)
            assert max(basin["y"]) == pytest.approx(basins.death[b], rel=1e-5)
            width = max(basin["x"]) - min(basin["x"])
            assert width == pytest.approx(basins.top_width[b], rel=1e-5)
        assert np.allclose(step["plane"], landscape.loss.T, rtol=1e-5)
        assert np.array_equal(np.array(step["arcs"]).T.ravel(), tree.vertex_arc)
        found = describe(tree).as_dict()
        at = STEPS.index(step["step"])
        for name in ("number_of_minima", "average_finite_persistence", "largest_basin_size"):
            assert contents["series"][name]["values"][at] == pytest.approx(found[name], rel=1e-5)
    assert [len(axis) for axis in contents["axes"]] == [13, 9]


def test_the_table_of_the_training_is_beside_the_descriptors(page):
    contents = contents_of(page)
    series = contents["series"]
    assert series["training loss"] == {
        "steps": [0.0, 10.0, 15.0],
        "values": [1.5, None, 0.5],
        "transitions": [],
    }
    assert series["learning rate"]["values"] == [0.1, 0.1, 0.01]
    assert "note" not in series
    assert contents["losses"] == ["loss", "training loss"]


def test_transitions_have_their_significance(folder, tmp_path):
    table = tmp_path / "long.csv"
    noise = np.random.default_rng(0).normal(size=60).tolist()
    rows = [f"{10 * i},{9.0 * (i >= 30) + noise[i]!r}" for i in range(60)]
    table.write_text("\n".join(["step,sharpness", *rows]) + "\n")
    page = tmp_path / "page.html"
    assert main(["report", str(folder), "-o", str(page), "--table", str(table)]) == 0
    (transition,) = contents_of(page)["series"]["sharpness"]["transitions"]
    assert transition["step"] == 300
    assert transition["p"] <= 0.01


def test_the_page_needs_no_net(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", text)
    assert "<title>two &lt;/script&gt; &amp; wells: loss landscapes</title>" in text
    assert "{{" not in text.partition("<script>")[0]
    assert page.stat().st_size < 6_000_000


def test_one_and_three_directions_and_scattered_samples_have_pages(tmp_path):
    rng = np.random.default_rng(0)
    for name, shape, points in (
        ("one", (9,), None),
        ("three", (5, 7, 3), None),
        ("scattered", (40,), rng.normal(size=(40, 2))),
    ):
        loss = rng.random(shape)
        half_widths = np.ones(2 if points is not None else len(shape))
        landscape = Landscape(loss, half_widths, np.ones(shape, bool), points=points)
        landscape.save(tmp_path / f"{name}.zarr")
        page = tmp_path / f"{name}.html"
        assert main(["report", str(tmp_path / f"{name}.zarr"), "-o", str(page)]) == 0
        plane = contents_of(page)["steps"][0]["plane"]
        wanted = {"one": loss, "three": loss[:, :, 1].T if name == "three" else None}.get(name)
        assert plane is None if wanted is None else np.allclose(plane, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "-o", "a.html"], "found none at nowhere"),
        (["{folder}", "-o", "a.pdf"], "a page must end in .html"),
        (["{folder}", "-o", "a.html", "--table", "none.csv"], "none.csv"),
    ],
)
def test_bad_input_is_reported(arguments, message, folder, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [argument.format(folder=folder) for argument in arguments]
    assert main(["report", *given]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    flags = ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage")
    for option in (*flags, "window-size=1280,1400"):
        options.add_argument(f"--{option}")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def hover(browser, name, x=0.5, y=0.5):
    """Move the mouse over a plot, at fractions of the width and height of its axes."""
    from selenium.webdriver.common.action_chains import ActionChains

    area = browser.execute_script(
        "const r = document.querySelector(arguments[0]).getBoundingClientRect();"
        "return [r.left, r.top, r.width, r.height]",
        f"#{name} .nsewdrag",
    )
    actions = ActionChains(browser)
    actions.w3c_actions.pointer_action.move_to_location(
        int(area[0] + x * area[2]), int(area[1] + y * area[3])
    )
    actions.perform()
    browser.implicitly_wait(0.2)


def data_of(browser, name, trace):
    script = "return document.getElementById(arguments[0]).data.at(arguments[1]).x.length"
    return browser.execute_script(script, name, trace)


def test_a_reader_moves_the_slider_and_points_at_basins(browser, page):
    browser.get(page.as_uri())
    told = lambda: browser.find_element("id", "told").text  # noqa: E731
    assert "2 minima among 117 samples at step 0" in browser.find_element("id", "summary").text
    hover(browser, "profile", 0.5, 0.2)  # the outermost basin
    assert "117 samples (width)" in told()
    assert data_of(browser, "plane", 1) == 117
    hover(browser, "plane", 0.25, 0.5)  # the first well: its basin is outlined
    assert re.search(r"basin \d+: \d+ samples", told())
    assert 0 < data_of(browser, "plane", 1) < 117
    assert data_of(browser, "profile", -1) > 2
    hover(browser, "losses")
    assert told() == "Point at a basin or a sample."
    browser.execute_script(
        "const slider = document.getElementById('step');"
        "slider.value = 2; slider.dispatchEvent(new Event('input'))"
    )
    assert browser.find_element("id", "number").text == "20"
    browser.find_element("id", "logarithmic").click()
    script = "return document.getElementById('profile').layout.yaxis.type"
    assert browser.execute_script(script) == "log"
    emulation = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", emulation)
    browser.get(page.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") == 400
    assert browser.get_log("browser") == []
