"""Tells CMake about the ParaView that runs it: version, Python, and where Python looks."""

import site
import sys

import paraview

print(f"paraview={paraview.__version__}")
print(f"python={sys.version_info.major}.{sys.version_info.minor}")
print(f"prefix={sys.base_prefix}")
print(f"site={(site.getsitepackages() or [''])[0]}")
