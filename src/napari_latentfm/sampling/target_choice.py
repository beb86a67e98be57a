"""The sampling target that the controls describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError
from napari_latentfm.layers.crop import crop_on_screen
from napari_latentfm.layers.planes import displayed_plane
from napari_latentfm.layers.specs import CALIBRATED_ROLES
from napari_latentfm.sampling.controls import CALIBRATED, TILES, VISIBLE, WHOLE
from napari_latentfm.sampling.form import SamplingForm
from napari_latentfm.sampling.plane import PlaneTarget
from napari_latentfm.sampling.stack import StackTarget
from napari_latentfm.sampling.tiled import TiledTarget, results_folder
from napari_latentfm.sampling.viewport import ViewportTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    from napari.layers import Image

    from napari_latentfm.background.image_request import Result
    from napari_latentfm.results.session import ReviewSession
    from napari_latentfm.sampling.target import SamplingTarget

NO_IMAGE = "Open an image first (File > Open File, or File > Open Sample)."


def chosen_image(form: SamplingForm) -> Image:
    """Return the chosen image layer; raise `ImageError` if there is none."""
    if form.image.value is None:
        raise ImageError(NO_IMAGE)
    layer: Image = form.image.value
    return layer


def chosen_target(form: SamplingForm, viewer: napari.viewer.Viewer) -> SamplingTarget[Any]:
    """Return what the controls say is to be segmented.

    Raises
    ------
    LatentFMError
        If there is no image, no single plane is shown, or a choice is not usable.
    """
    return _FIELDS[form.field.value](form, viewer, chosen_image(form))


def summary_again(
    form: SamplingForm, session: ReviewSession
) -> tuple[PlaneTarget | StackTarget, SamplingConfig] | None:
    """Return target and settings that show the last samples with the chosen kind of confidence.

    None if they have it, are no longer there, or are not of the chosen model.

    Raises
    ------
    ModelFolderError
        If the folder of the model is not given.
    """
    under_review = _under_review(session)
    # Without a model, its folder is about to be chosen.
    if under_review is None or not form.has_model():
        return None
    target, result = under_review
    wanted = form.confidence.value == CALIBRATED
    if wanted == result.summary.calibrated or form.model_source() != target.model:
        return None
    settings = SamplingConfig(**result.samples.settings)
    return target, settings.model_copy(update={"calibrated": wanted})


def _under_review(session: ReviewSession) -> tuple[PlaneTarget | StackTarget, Result] | None:
    """Return a target that summarises the samples under review again, and their result."""
    stack, last, roles = session.stack, session.current, CALIBRATED_ROLES
    if stack is not None:
        run = stack.run
        drawn = run.stack.samples
        return StackTarget(stack.layer, stack.planes, stack.model, drawn, roles, stack.label), run
    if last is None:
        return None
    samples = last.result.samples
    target = PlaneTarget(
        last.layer, last.plane, last.model, last.label, samples=samples, roles=roles
    )
    return target, last.result


def _planes(
    form: SamplingForm, viewer: napari.viewer.Viewer, layer: Image
) -> PlaneTarget | StackTarget:
    stack = form.plane_choice.stack(layer, viewer.dims)
    if stack is not None:
        return StackTarget(layer, stack, form.model_source())
    plane = form.plane_choice.on_screen(layer, viewer.dims)
    return PlaneTarget(layer, plane, form.model_source())


def _visible(form: SamplingForm, viewer: napari.viewer.Viewer, layer: Image) -> ViewportTarget:
    return ViewportTarget(layer, crop_on_screen(viewer, layer), form.model_source())


def _tiles(form: SamplingForm, viewer: napari.viewer.Viewer, layer: Image) -> TiledTarget:
    folder = results_folder(form.results.line_edit.value)
    plane = displayed_plane(layer, viewer.dims, limit=None)
    return TiledTarget(layer, plane, form.model_source(), form.tiling(), folder)


_FIELDS: dict[str, Callable[[SamplingForm, napari.viewer.Viewer, Image], SamplingTarget[Any]]] = {
    WHOLE: _planes,
    VISIBLE: _visible,
    TILES: _tiles,
}
