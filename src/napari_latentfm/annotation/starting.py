"""Start an annotation from the mean mask when an edit needs one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Labels

from latentfm_core.errors import ImageError
from napari_latentfm.annotation.layer import annotation_of, writable_annotation
from napari_latentfm.annotation.mean_mask import mean_mask_on_screen, removed_mean_mask
from napari_latentfm.annotation.taking import RENEWING
from napari_latentfm.annotation.writing import write_mean_mask
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.painting import check_unlocked
from napari_latentfm.layers.planes import Plane, displayed_plane, plane_index

if TYPE_CHECKING:
    from napari_latentfm.results.session import Reviewed, ReviewSession

NOTHING = "No samples yet. Run the model before you fix an annotation."


def find_annotation(session: ReviewSession) -> tuple[Labels, Plane]:
    """Return the annotation, and its plane on screen.

    If the plane is not annotated yet, the mean mask is taken first, as a separate undo step.

    Raises
    ------
    ImageError
        If there is no annotation or mean mask, or the annotation is locked.
    """
    reviewed = session.current
    if reviewed is None:
        raise ImageError(NOTHING)
    plane = displayed_plane(reviewed.layer, session.viewer.dims, limit=None)
    layer = annotation_of(session, create=False)
    if layer is None or _is_new(layer, plane):
        layer = _take_mean_mask(session, reviewed, plane)
    check_unlocked(layer)
    return layer, plane


def annotation_to_paint(session: ReviewSession) -> Labels:
    """Return the annotation, to be painted by hand; a mean mask is taken first.

    Without a mean mask on the plane on screen, painting begins with an empty plane.

    Raises
    ------
    ImageError
        If nothing is under review, or as `find_annotation`.
    """
    reviewed = session.current
    if reviewed is None:
        raise ImageError(NOTHING)
    is_shown = displayed_plane(reviewed.layer, session.viewer.dims, limit=None) == reviewed.plane
    if is_shown and not removed_mean_mask(session) and mean_mask_on_screen(session).any():
        return find_annotation(session)[0]
    return writable_annotation(session)


def _is_new(layer: Labels, plane: Plane) -> bool:
    return (
        plane.index not in record_of(layer).proposals and not layer.data[plane_index(plane)].any()
    )


def _take_mean_mask(session: ReviewSession, reviewed: Reviewed, plane: Plane) -> Labels:
    if plane != reviewed.plane:
        raise ImageError(
            "This plane has neither an annotation nor samples under review. Draw samples of it, "
            "or paint."
        )
    if session.renewing:
        raise ImageError(RENEWING)
    if not mean_mask_on_screen(session).any():
        raise ImageError("There is no annotation, and the mean mask is empty. Paint first.")
    write_mean_mask(session)
    layer = writable_annotation(session)
    if reviewed.label is not None:
        layer.selected_label = reviewed.label
    return layer
