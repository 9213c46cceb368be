"""The conda recipe against pyproject.toml; it is rendered, but not built, which needs a channel."""

import tomllib

import pytest

from tests.paraview_programs import ROOT

rattler_build = pytest.importorskip("rattler_build")

CONDA_NAMES = {"torch": "pytorch"}
BUNDLED = {"pyhessian"}
"""Packages that no conda channel has; the recipe installs them into the package."""


@pytest.fixture(scope="module")
def recipe():
    stage = rattler_build.Stage0Recipe.from_file(ROOT / ".conda" / "recipe.yaml")
    (variant,) = stage.render(rattler_build.VariantConfig(), rattler_build.RenderConfig())
    return variant.recipe


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_recipe_has_the_packages_of_the_project(recipe, project):
    wanted = {}
    for dependency in project["dependencies"]:
        name, _, version = dependency.partition(">=")
        wanted[CONDA_NAMES.get(name, name)] = f">={version}"
    script = str(recipe.to_dict()["build"]["script"])
    for name in BUNDLED:
        assert f"{name}{wanted.pop(name)}" in script
    found = dict(each.split() for each in recipe.requirements.run if " " in each)
    assert found.pop("python") == project["requires-python"]
    assert found == wanted
    assert "topologytoolkit" in recipe.requirements.run


def test_the_recipe_names_the_version_and_the_command(recipe, project):
    assert recipe.package.version == project["version"]
    entry_points = recipe.to_dict()["build"]["python"]["entry_points"]
    assert [str(each) for each in entry_points] == [
        f"{name} = {place}" for name, place in project["scripts"].items()
    ]
