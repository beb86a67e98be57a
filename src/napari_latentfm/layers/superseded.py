"""Results of single planes, after a result of the whole stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_latentfm.layers.edits import is_edited
from napari_latentfm.layers.specs import own_facts

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_latentfm.layers.stacks import PlaneStack


def remove_plane_results(viewer: ViewerModel, image: Image, planes: PlaneStack) -> None:
    """Remove the results of single planes of a stack, which those of the stack replace.

    Layers that the user has edited or duplicated are kept.

    Parameters
    ----------
    image, planes
        The image, and the planes whose results are now in layers of the whole stack.
    """
    for layer in [each for each in viewer.layers if _is_of_plane(each, image, planes)]:
        if not is_edited(layer):
            viewer.layers.remove(layer)


def _is_of_plane(layer: Layer, image: Image, planes: PlaneStack) -> bool:
    facts = own_facts(layer)
    index = facts.get("plane")
    if (
        facts.get("source_id") != str(image.unique_id)
        or "along" in facts
        or not isinstance(index, list)
    ):
        return False
    own = [axis for axis, at in enumerate(index) if at is None]
    if tuple(own) != planes.plane.axes:
        return False
    return planes.number([-1 if at is None else at for at in index]) is not None
