"""VTK's files of landscapes."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from vtkmodules.vtkCommonCore import vtkObject
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline
from vtkmodules.vtkIOXML import (
    vtkXMLImageDataReader,
    vtkXMLImageDataWriter,
    vtkXMLUnstructuredGridWriter,
)

from tlp_core import array_names as names
from tlp_core.landscape.exchange import landscape_from_axes
from tlp_core.landscape.landscape import Landscape
from tlp_core.untrusted_files import require_room
from tlp_core.vtk_bridge.graphs import point_values
from tlp_core.vtk_bridge.samples import landscape_to_grid, landscape_to_image, with_vertices

_COMPONENTS = re.compile(rb'NumberOfComponents\s*=\s*["\']\s*(-?\d{1,18})')

_MOST_COMPONENTS = 9
"""Components of a tensor."""

_MOST_COMPRESSED = 1100
"""Values in a byte of a compressed file, at most."""


def read_image(file: Path, array: str = names.LOSS) -> Landscape:
    """Read VTK image data as a landscape.

    Args:
        file: a ``.vti`` file.
        array: name of the point array with the losses.

    Raises:
        ValueError: if the file holds no image data or no such array.
    """
    image = _read_quietly(file)
    if not np.isfinite([*image.GetOrigin(), *image.GetSpacing()]).all():
        raise ValueError(f"{file} must have a finite origin and spacing")
    sizes = [size for size in image.GetDimensions() if size > 1]
    if not sizes:
        raise ValueError(f"{file} must hold image data, and holds none")
    losses = point_values(image, array).reshape(sizes[::-1]).T
    placed = zip(image.GetDimensions(), image.GetOrigin(), image.GetSpacing())
    axes = [origin + spacing * np.arange(size) for size, origin, spacing in placed if size > 1]
    return landscape_from_axes(
        losses, axes, np.ones(losses.shape, dtype=np.bool_), file, "image data"
    )


def _read_quietly(file: Path) -> vtkImageData:
    """Return the image data in a file; it is empty, or lacks arrays, where the file is damaged.

    VTK would print several errors for one damaged file.

    Raises:
        ValueError: if the image does not fit into memory.
    """
    reader = vtkXMLImageDataReader()
    shown = vtkObject.GetGlobalWarningDisplay()
    vtkObject.SetGlobalWarningDisplay(0)
    try:
        reader.SetFileName(str(file))
        reader.UpdateInformation()
        key = vtkStreamingDemandDrivenPipeline.WHOLE_EXTENT()
        extent = reader.GetOutputInformation(0).Get(key) or (0, -1) * 3
        shape = [high - low + 1 for low, high in zip(extent[::2], extent[1::2])]
        _require_content(file, shape)
        reader.Update()
        return reader.GetOutput()
    finally:
        vtkObject.SetGlobalWarningDisplay(shown)


def _require_content(file: Path, shape: list[int]) -> None:
    """Check that the values that a file claims fit into memory, and can be in the file.

    VTK ends the process if it cannot allocate them.

    Raises:
        ValueError: if they do not.
    """
    content = file.read_bytes()
    counts = [int(number) for number in _COMPONENTS.findall(content)]
    if counts and not 1 <= min(counts) <= max(counts) <= _MOST_COMPONENTS:
        raise ValueError(f"{file} must have arrays of 1 to {_MOST_COMPONENTS} components")
    require_room(file, (*shape, max(counts, default=1)), "an image")
    if math.prod(shape) > _MOST_COMPRESSED * len(content):
        raise ValueError(f"{file} must hold all of its image of {shape} points, and does not")


def write_grid(landscape: Landscape, file: Path) -> None:
    """Write the samples as a ``.vtu`` file.

    Raises:
        OSError: if VTK cannot write the file.
    """
    grid = with_vertices(landscape_to_grid(landscape))
    _write_vtk(vtkXMLUnstructuredGridWriter(), grid, file)


def write_image(landscape: Landscape, file: Path) -> None:
    """Write a grid of up to three directions as a ``.vti`` file.

    Raises:
        ValueError: for scattered samples or more directions.
        OSError: if VTK cannot write the file.
    """
    image = landscape_to_image(landscape)
    if not image.GetNumberOfPoints():
        raise ValueError(
            "image data must be of a grid in at most three directions; export a .vtu instead"
        )
    _write_vtk(vtkXMLImageDataWriter(), image, file)


def _write_vtk(writer: Any, data: Any, file: Path) -> None:
    writer.SetFileName(str(file))
    writer.SetInputData(data)
    writer.SetDataModeToBinary()  # VTK writes appended strings of field data as broken XML
    if not writer.Write():
        raise OSError(f"VTK cannot write {file}")
