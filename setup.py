"""Adds to the wheel what ParaView reads: the plugin's XML and the state files with their data.

They lie beside the packages in a checkout, and inside the package tlp_paraview in a wheel.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PLUGIN = ("TopologicalLandscapeProfiles.xml", "TopologicalLandscapeProfiles.py")


class BuildWithData(build_py):
    """Copies the data of ParaView after the modules, except for an editable installation."""

    def run(self) -> None:
        """Build the packages."""
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "tlp_paraview"
        for name in PLUGIN:
            shutil.copy(ROOT / "plugins" / name, package / name)
        shutil.copytree(
            ROOT / "state_files",
            package / "state_files",
            ignore=shutil.ignore_patterns("__pycache__", "*.png", "*.gif", "*.md"),
            dirs_exist_ok=True,
        )


# not build/lib, which is CMake's folder
setup(cmdclass={"build_py": BuildWithData}, options={"build": {"build_base": "build/wheel"}})
