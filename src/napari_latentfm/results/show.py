"""Show the result of a run as layers and put it under review."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentfm_core.errors import ImageError
from napari_latentfm.background.image_request import Result
from napari_latentfm.layers.edits import AskAboutEdits
from napari_latentfm.layers.pyramid import level_zero
from napari_latentfm.layers.specs import LayerSpec, Role, result_layers
from napari_latentfm.layers.stacking import bring_forward
from napari_latentfm.layers.update import place_part, place_steps
from napari_latentfm.results.session import Reviewed, session_of

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    import napari
    from napari.layers import Image

    from napari_latentfm.layers.planes import Plane
    from napari_latentfm.layers.stacks import PlaneStack


def show_result_steps(
    viewer: napari.viewer.Viewer,
    reviewed: Reviewed,
    ask: AskAboutEdits,
    roles: Collection[Role] | None = None,
) -> Generator[None, None, bool]:
    """Put the layers of a result into the viewer, one per step, and the result under review.

    A plane of the stack under review that was sampled again, for example with strokes, is
    written into the layers of that stack. Closing the generator leaves the layers and the
    review as they were.

    Returns False if the user kept the edited layers; nothing was changed then.

    Parameters
    ----------
    roles
        The layers to write; None for all.

    Raises
    ------
    ImageError
        If the shape of the image has changed.
    """
    result, session = reviewed.result, session_of(viewer)
    stack = session.stack
    number = None if stack is None else stack.number_of(reviewed)
    if stack is None or number is None:
        return (yield from show_plane_steps(viewer, reviewed, ask, roles))
    specs = _specs(reviewed.layer, reviewed.plane, result, roles)
    if not place_part(viewer, specs, stack.planes, number, ask):
        return False
    bring_forward(viewer, reviewed.layer)
    stack.renew(number, result)
    return True


def show_plane_steps(
    viewer: napari.viewer.Viewer,
    reviewed: Reviewed,
    ask: AskAboutEdits,
    roles: Collection[Role] | None = None,
) -> Generator[None, None, bool]:
    """Show the result of one plane in layers with only this plane.

    Parameters, result and errors are those of `show_result_steps`.
    """
    layer, plane, result = reviewed.layer, reviewed.plane, reviewed.result
    if not (yield from place_result_steps(viewer, layer, plane, result, ask, roles)):
        return False
    session_of(viewer).show(reviewed)
    return True


def place_result_steps(
    viewer: napari.viewer.Viewer,
    layer: Image,
    plane: Plane | PlaneStack,
    result: Result,
    ask: AskAboutEdits,
    roles: Collection[Role] | None = None,
) -> Generator[None, None, bool]:
    """Place the layers of a result above its image; what is under review does not change.

    Parameters
    ----------
    layer, plane, result
        The image, the part of it that was segmented, and the result.
    viewer, ask, roles
        As in `show_result_steps`, and so are the returned value and the errors.
    """
    specs = _specs(layer, plane, result, roles)
    if not (yield from place_steps(viewer, specs, ask)):
        return False
    bring_forward(viewer, layer)
    return True


def _specs(
    layer: Image, plane: Plane | PlaneStack, result: Result, roles: Collection[Role] | None
) -> list[LayerSpec]:
    if level_zero(layer).shape[: layer.ndim] != plane.layer_shape:
        raise ImageError(f"{layer.name!r} was changed during the run. Run again.")
    specs = result_layers(layer, plane, result.samples, result.summary)
    return [spec for spec in specs if roles is None or spec.role in roles]
