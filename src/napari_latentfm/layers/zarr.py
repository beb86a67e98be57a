"""Lazy layers of a tiled result on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import dask.array
import numpy as np
import zarr

from latentfm_core.colours import checked_colours
from latentfm_core.config import READING
from latentfm_core.errors import ImageError
from latentfm_core.images.checked_codecs import bounded_array
from latentfm_core.images.regular_store import RegularStore
from latentfm_core.output.maps import ATTRIBUTES
from napari_latentfm.layers.specs import CLASS_AXIS, METADATA_KEY, SAMPLE_AXIS, TITLES, Role, look

_ROLES: dict[str, Role] = {
    "mean_probability": "mean_probability",
    "class_confidence": "class_confidence",
    "confidence": "confidence",
    "sample_masks": "samples",
    "mean_mask": "mean_mask",
}
"""Maps that become layers, from bottom to top."""


@dataclass(frozen=True)
class StoredMap:
    """One map of a result.

    Attributes
    ----------
    role, kind
        Kind of result, and napari's name of the layer type.
    levels
        Lazy arrays ``(H, W)``, of samples and classes ``(N, H, W)``, finest first.
    pixel, origin, unit
        Size of a pixel ``(row, column)``, and position of the centre of the first one.
    """

    role: Role
    kind: Literal["image", "labels"]
    levels: list[Any]
    pixel: tuple[float, float]
    origin: tuple[float, float]
    unit: str
    look: dict[str, Any]

    @property
    def data(self) -> Any:
        """Data of the layer: the levels, or the only one."""
        return self.levels if len(self.levels) > 1 else self.levels[0]

    @property
    def leading(self) -> tuple[str, ...]:
        """Name of the axis before ``(H, W)``, if there is one."""
        if self.levels[0].ndim == 2:
            return ()
        return (SAMPLE_AXIS,) if self.role == "samples" else (CLASS_AXIS,)


def is_stored(folder: Path) -> bool:
    """Return whether a folder is a result of this program."""
    return (folder / ".zattrs").is_file() and _facts(folder) is not None


def stored_maps(folder: Path) -> list[StoredMap]:
    """Return the maps of a result, from bottom to top, without reading them.

    Raises
    ------
    ImageError
        If the folder does not contain a complete result.
    """
    try:
        root = zarr.open_group(RegularStore.at(folder), mode="r")
        facts = cast("dict[str, Any]", root.attrs[ATTRIBUTES])
        several = len(facts["classes"]) > 1
        groups = [
            (role, cast("zarr.Group", root[name])) for name, role in _ROLES.items() if name in root
        ]
        own = checked_colours(facts.get("class_colours"))
        return [_stored(folder, role, group, several, own) for role, group in groups]
    except Exception as error:
        raise ImageError(
            f"{folder} has no complete result of an image in tiles "
            f"({type(error).__name__}: {error}). Segment the image again."
        ) from None


def read_stored(path: str | list[str]) -> Any:
    """Return the reader for a tiled result, or None for another path; npe2 calls it."""
    if not isinstance(path, str) or not is_stored(Path(path)):
        return None
    return _read


def _read(path: str) -> list[tuple[Any, dict[str, Any], str]]:
    layers: list[tuple[Any, dict[str, Any], str]] = []
    for stored in stored_maps(Path(path)):
        lead = len(stored.leading)
        options = {
            "name": f"{Path(path).stem} · {TITLES[stored.role]}",
            "scale": (*(1.0,) * lead, *stored.pixel),
            "translate": (*(0.0,) * lead, *stored.origin),
            "units": (*("pixel",) * lead, stored.unit, stored.unit),
            "axis_labels": (*stored.leading, "y", "x"),
            "metadata": {METADATA_KEY: {"role": stored.role, "layer_id": None}},
            # The constructor of Labels has no argument for the contour.
            **{key: value for key, value in stored.look.items() if key != "contour"},
        }
        layers.append((stored.data, options, stored.kind))
    return layers


def _facts(folder: Path) -> Any:
    try:
        return zarr.open_group(RegularStore.at(folder), mode="r").attrs.get(ATTRIBUTES)
    except Exception:
        # A damaged or foreign folder is not a result.
        return None


def _stored(
    folder: Path, role: Role, group: zarr.Group, several: bool, own: tuple[str, ...]
) -> StoredMap:
    scales = cast("list[dict[str, Any]]", group.attrs["multiscales"])[0]
    arrays = [cast("zarr.Array[Any]", group[entry["path"]]) for entry in scales["datasets"]]
    levels = [dask.array.from_zarr(bounded_array(each, folder, READING)) for each in arrays]
    first, second = scales["datasets"][0]["coordinateTransformations"]
    return StoredMap(
        role=role,
        kind="image" if levels[0].dtype == np.float32 else "labels",
        levels=levels,
        pixel=(first["scale"][-2], first["scale"][-1]),
        origin=(second["translation"][-2], second["translation"][-1]),
        unit=scales["axes"][-1].get("unit", "pixel"),
        look=look(role, several, own),
    )
