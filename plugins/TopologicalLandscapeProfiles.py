"""The plugin as a single file, for ParaView 5.12 and later.

It adds the packages of the suite to the Python path, and gives ParaView the same XML that 5.11
loads. ParaView 5.11 cannot load any .py plugin under Python 3.11; load the .xml file there.
"""

import sys
from pathlib import Path

import paraview

paraview_plugin_name = "TopologicalLandscapeProfiles"
paraview_plugin_version = "0.1.0"

_FOLDER = Path(__file__).resolve().parent

for _place in (_FOLDER, _FOLDER.parent):
    if (_place / "tlp_paraview").is_dir() or (_place / "tlp_core").is_dir():
        sys.path.append(str(_place))

try:
    import tlp_paraview  # noqa: F401

    import tlp_core  # noqa: F401
except ModuleNotFoundError as error:
    _missing = (
        f"the Python package {error.name} must be on ParaView's Python path, and was not found; "
        "start ParaView by a launcher of the suite, or set PYTHONPATH to the package's folder"
    )
    paraview.print_error(_missing)
    raise ImportError(_missing) from error


class Proxies:
    """A holder of the XML of all proxies, in the attribute that ParaView reads."""

    _pvsm_proxy_xml = (_FOLDER / "TopologicalLandscapeProfiles.xml").read_text(encoding="utf-8")
