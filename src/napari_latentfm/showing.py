"""A finished run becomes layers, and what is under review."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentfm_core.errors import ImageError
from napari_latentfm.layers import Role, result_layers
from napari_latentfm.placing import AskAboutEdits, place
from napari_latentfm.planes import level_zero
from napari_latentfm.review.session import Reviewed, session_of

if TYPE_CHECKING:
    from collections.abc import Collection

    import napari


def show_result(
    viewer: napari.viewer.Viewer,
    reviewed: Reviewed,
    ask: AskAboutEdits,
    roles: Collection[Role] | None = None,
) -> bool:
    """Put the layers of a result into the viewer, and the result under review.

    Parameters
    ----------
    viewer
        The viewer, which holds the image layer.
    reviewed
        The result and where it came from.
    ask
        Says what to do with result layers that the user has edited.
    roles
        The layers to write; None is all.

    Returns
    -------
    bool
        False if the user kept the edited layers; nothing was changed then.

    Raises
    ------
    ImageError
        If the image has another shape by now.
    """
    layer, plane, result = reviewed.layer, reviewed.plane, reviewed.result
    if level_zero(layer).shape[: layer.ndim] != plane.layer_shape:
        raise ImageError(f"{layer.name!r} was changed during the run. Run again.")
    specs = result_layers(layer, plane, result.samples, result.summary)
    if roles is not None:
        specs = [spec for spec in specs if spec.role in roles]
    if not place(viewer, specs, ask):
        return False
    session_of(viewer).show(reviewed)
    return True
