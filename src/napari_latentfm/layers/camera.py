"""The camera of a viewer, in all supported versions of napari."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import napari


def camera_of(viewer: napari.viewer.Viewer) -> Any:
    """Return the camera; napari 0.9 moved it from ``viewer`` to ``viewer.scene``."""
    return getattr(viewer, "scene", viewer).camera


@contextmanager
def keeping_view(viewer: napari.viewer.Viewer) -> Iterator[None]:
    """Restore centre and zoom afterwards; napari resets the view when an axis is added."""
    camera = camera_of(viewer)
    centre, zoom = camera.center, camera.zoom
    try:
        yield
    finally:
        camera.center, camera.zoom = centre, zoom
