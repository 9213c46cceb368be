"""A script that prints version, Python and folders of the ParaView that runs it, for CMake."""

import site
import sys

import paraview
from tlp_paraview.folders import library_folders

print(f"paraview={paraview.__version__}")
print(f"python={sys.version_info.major}.{sys.version_info.minor}")
print(f"prefix={sys.base_prefix}")
folders = [folder for folder in library_folders() if folder.is_dir()]
print(f"plugins={folders[-1] if folders else ''}")
print(f"site={(site.getsitepackages() or [''])[0]}")
