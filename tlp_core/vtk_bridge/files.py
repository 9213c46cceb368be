"""VTK's files of landscapes."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator
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
from tlp_core.vtk_bridge.samples import (
    landscape_to_grid,
    landscape_to_image,
    point_values,
)

_COMPONENTS = re.compile(rb'NumberOfComponents\s*=\s*["\']\s*(-?\d{1,18})')

_INLINE = re.compile(rb'<DataArray[^>]*format\s*=\s*["\']binary["\'][^>]*>([^<]*)')

_APPENDED = re.compile(rb"<AppendedData([^>]*)>\s*_")

_OFFSET = re.compile(rb'offset\s*=\s*["\']\s*(\d{1,18})')

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
    if any(claimed > held for claimed, held in _block_sizes(content)):
        raise ValueError(f"{file} must hold all values of its arrays, and lacks some")


def _block_sizes(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the number of bytes that each uncompressed array claims, and the most that are there.

    VTK takes the values that a short array lacks from memory that is not initialized. Compressed
    arrays that are short cannot be decompressed, which it reports.
    """
    head = content[:1000]
    if b"compressor" in head:
        return
    size, order = 8 if b"UInt64" in head else 4, "big" if b"BigEndian" in head else "little"
    blocks = [(match[1], True) for match in _INLINE.finditer(content)]
    if appended := _APPENDED.search(content):
        data, is_text = content[appended.end() :], b"base64" in appended[1]
        blocks += [(data[int(place) :], is_text) for place in _OFFSET.findall(content)]
    for block, is_text in blocks:
        if is_text:
            text = re.sub(rb"\s|<.*", b"", block, flags=re.DOTALL)
            try:
                start = base64.b64decode(text[: 4 * math.ceil(size / 3)])[:size]
            except binascii.Error:
                start = b""
            held = 3 * len(text) // 4
        else:
            start, held = block[:size], len(block)
        if len(start) == size:
            yield int.from_bytes(start, order), held - size  # type: ignore[arg-type]


def write_grid(landscape: Landscape, file: Path) -> None:
    """Write the samples as a ``.vtu`` file.

    Raises:
        OSError: if VTK cannot write the file.
    """
    grid = landscape_to_grid(landscape)
    _write_vtk(vtkXMLUnstructuredGridWriter(), grid, file)


def write_image(landscape: Landscape, file: Path) -> None:
    """Write an even grid of up to three directions as a ``.vti`` file.

    Raises:
        ValueError: for scattered samples, geometric spacing or more directions.
        OSError: if VTK cannot write the file.
    """
    image = landscape_to_image(landscape)
    if not image.GetNumberOfPoints():
        raise ValueError(
            "image data must be of an even grid in at most three directions; export a .vtu instead"
        )
    _write_vtk(vtkXMLImageDataWriter(), image, file)


def _write_vtk(writer: Any, data: Any, file: Path) -> None:
    writer.SetFileName(str(file))
    writer.SetInputData(data)
    writer.SetDataModeToBinary()  # VTK writes appended strings of field data as broken XML
    if not writer.Write():
        raise OSError(f"VTK cannot write {file}")
