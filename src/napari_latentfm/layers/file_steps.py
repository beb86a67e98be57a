"""Read the pixel size of a layer from its file if the reader did not set it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pint import get_application_registry

from latentfm_core.images.endings import TIFF_SUFFIXES
from latentfm_core.images.spacing import AxisSteps, read_steps
from napari_latentfm.layers.pyramid import level_zero

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari.layers import Image, Layer

Steps = tuple[tuple[float, ...], tuple[Any, ...]]
_KNOWN: dict[str, AxisSteps] = {}
"""By the id of the layer."""


def find_steps(layer: Image) -> None:
    """Look for the pixel size of a layer in its TIFF file, for `steps_of`.

    Call it in a worker thread.
    """
    path, key = layer.source.path, str(layer.unique_id)
    # A layer of a work list was read with the pixel size.
    if not path or not layer.source.reader_plugin or key in _KNOWN or not _is_unset(layer):
        return
    found = read_steps(Path(path)) if Path(path).suffix.lower() in TIFF_SUFFIXES else None
    if found is not None:
        _KNOWN[key] = found


def steps_of(layer: Layer, axes: Collection[int] = (), source: Image | None = None) -> Steps:
    """Return step and unit of each axis of a layer, from its file if the layer has none.

    Parameters
    ----------
    axes
        Axes that the file must describe.
    source
        The image of the file; None for the layer itself.
    """
    image: Any = layer if source is None else source
    known = _KNOWN.get(str(image.unique_id))
    own = tuple(map(float, layer.scale)), tuple(layer.units)
    if known is None or not _is_unset(layer):
        return own
    is_same = known.shape == tuple(level_zero(image).shape[: image.ndim])
    if not is_same or None in [known.steps[axis] for axis in axes]:
        return own
    registry = get_application_registry()  # type: ignore[no-untyped-call]  # pint lacks the type
    unit = registry.parse_units(known.unit)
    units = [
        pixel if step is None else unit for step, pixel in zip(known.steps, own[1], strict=True)
    ]
    return tuple(step or 1.0 for step in known.steps), tuple(units)


def _is_unset(layer: Layer) -> bool:
    return all(step == 1 for step in layer.scale) and all(str(u) == "pixel" for u in layer.units)
