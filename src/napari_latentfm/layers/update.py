"""Add and update result layers; ask before edited layers are overwritten.

A layer was edited if its data differ from the digest of the data that were written. Events are
not reliable: undo and redo emit only ``set_data``, which also fires on every move of a slider,
and writing into the array emits nothing. An edit that was undone does not count.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels

from napari_latentfm.layers.edits import (
    AskAboutEdits,
    EditedLayers,
    checksum,
    fingerprint,
    is_edited,
    part_is_edited,
    plane_indices,
)
from napari_latentfm.layers.handover import is_handed_over, renew_look
from napari_latentfm.layers.placement import place
from napari_latentfm.layers.rollback import all_or_nothing, unlink, without_history
from napari_latentfm.layers.specs import METADATA_KEY, LayerSpec, own_facts
from napari_latentfm.layers.stacking import add_below, add_result
from napari_latentfm.layers.stacks import PlaneStack

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


def place_steps(
    viewer: ViewerModel, specs: Sequence[LayerSpec], ask: AskAboutEdits
) -> Generator[None, None, bool]:
    """Update the layers that an earlier run made for the same plane, and add missing ones.

    One layer per step: napari needs a tenth of a second for each layer of any size, and as much
    again for its outlines. The mean mask comes first, so that it can be judged while the others
    are added. Between the steps the window responds; closing the generator undoes all steps.

    Returns False if the user chose to cancel; then nothing was changed.

    Parameters
    ----------
    specs
        The results, from bottom to top.
    ask
        Called only if the user has edited one of the layers that would be written.
    """
    targets = [_find(viewer, spec.metadata, spec.data.ndim, _is_pyramid(spec)) for spec in specs]
    edited = [layer for layer in targets if layer is not None and _may_be_edited(layer)]
    choice = ask([layer.name for layer in edited]) if edited else EditedLayers.OVERWRITE
    if choice is EditedLayers.CANCEL:
        return False
    kept = edited if choice is EditedLayers.KEEP else []
    # New layers are made before the viewer changes, so that an error changes nothing.
    new: list[Layer | None] = []
    for spec, target in zip(specs, targets, strict=True):
        if target is None or target in kept:
            new.append(_make(spec))
            yield
        else:
            new.append(None)
    with all_or_nothing(viewer, [layer for layer in targets if layer is not None]) as added:
        for layer in kept:
            detach(layer)
        above: Layer | None = None
        for spec, target, fresh in reversed(list(zip(specs, targets, new, strict=True))):
            if fresh is not None:
                add_result(viewer, fresh) if above is None else add_below(viewer, fresh, above)
                added.append(fresh)
                yield
                fresh.visible = spec.look.get("visible", True)
            elif target is not None:
                _write(viewer, target, spec, is_top=above is None)
            above = target if fresh is None else fresh
            yield
    return True


def _may_be_edited(layer: Layer) -> bool:
    """Return whether a result layer was edited; `hand_over` has already checked its layers."""
    return not is_handed_over(layer) and is_edited(layer)


def _write(viewer: ViewerModel, layer: Layer, spec: LayerSpec, is_top: bool) -> None:
    """Write a result into a layer of an earlier run, or one that was handed over."""
    handed_over = is_handed_over(layer)
    _overwrite(layer, spec)
    if handed_over:
        renew_look(layer, spec)
        if is_top:
            viewer.layers.selection.active = layer


def place_part(
    viewer: ViewerModel,
    specs: Sequence[LayerSpec],
    planes: PlaneStack,
    number: int,
    ask: AskAboutEdits,
) -> bool:
    """Write the results of one plane into the layers of a whole stack.

    Layers that the user has removed are not added again.

    Returns False if the user chose to cancel; then nothing was changed.

    Parameters
    ----------
    viewer, ask
        As for `place_steps`; only edits in this plane count.
    planes, number
        The stack, and which of its planes this is.
    """
    pairs = [(_find(viewer, {**s.metadata, **planes.facts()}, s.data.ndim), s) for s in specs]
    targets = [(layer, spec) for layer, spec in pairs if layer is not None]
    edited = [layer for layer, _ in targets if part_is_edited(layer, number)]
    choice = ask([layer.name for layer in edited]) if edited else EditedLayers.OVERWRITE
    if choice is EditedLayers.CANCEL:
        return False
    unlink(viewer, [layer for layer, _ in targets])
    for layer, spec in targets:
        if choice is EditedLayers.OVERWRITE or layer not in edited:
            _overwrite_part(layer, spec, number)
    return True


def results_with(viewer: ViewerModel, facts: Mapping[str, Any]) -> Iterator[Layer]:
    """Yield the result layers of a role, image and plane; copies made by the user do not count."""
    wanted = ("role", "source_id", "plane", "along")
    for layer in viewer.layers:
        own = own_facts(layer)
        if own and all(own.get(key) == facts.get(key) for key in wanted):
            yield layer


def _find(
    viewer: ViewerModel, facts: dict[str, Any], ndim: int, multiscale: bool = False
) -> Layer | None:
    found = results_with(viewer, facts)
    return next((it for it in found if it.ndim == ndim and it.multiscale == multiscale), None)


def detach(layer: Layer) -> None:
    """Detach a layer, so that later runs do not update it."""
    kept = {**layer.metadata[METADATA_KEY], "layer_id": None}
    layer.metadata = {**layer.metadata, METADATA_KEY: kept}


def _make(spec: LayerSpec) -> Layer:
    """Return a new layer, which is hidden so that it is not drawn yet."""
    layer: Layer
    look = {**spec.look, "visible": False}
    if spec.kind == "labels":
        contour = look.pop("contour")
        layer = Labels(
            spec.levels, name=spec.name, multiscale=_is_pyramid(spec), **spec.space, **look
        )
        # The constructor has no argument for the contour.
        layer.contour = contour
    else:
        layer = Image(
            spec.levels, name=spec.name, multiscale=_is_pyramid(spec), **spec.space, **look
        )
    _stamp(layer, spec)
    return layer


def _is_pyramid(spec: LayerSpec) -> bool:
    return spec.pyramid_axes is not None


def _stamp(layer: Layer, spec: LayerSpec) -> None:
    # A duplicate of the layer has the same metadata but another id: it belongs to the user.
    stamp = {
        "layer_id": str(layer.unique_id),
        "digest": None if _is_pyramid(spec) else fingerprint(spec.metadata, spec.data),
    }
    layer.metadata = {**layer.metadata, METADATA_KEY: {**spec.metadata, **stamp}}


def _overwrite(layer: Layer, spec: LayerSpec) -> None:
    before = layer.metadata[METADATA_KEY]
    if isinstance(layer, Labels) and _colours_of(before) != _colours_of(spec.metadata):
        layer.colormap = spec.look["colormap"]
    with without_history(layer):
        # napari 0.6 does not take a list of levels here.
        layer.data = type(layer.data)(spec.levels) if layer.multiscale else spec.levels
        place(layer, spec.space)
    _stamp(layer, spec)


def _colours_of(facts: dict[str, Any]) -> tuple[bool, list[str]]:
    """Return what the colours of masks depend on: several classes, and the model's own colours."""
    return len(facts.get("classes", ())) > 1, facts.get("class_colours", [])


def _overwrite_part(layer: Layer, spec: LayerSpec, number: int) -> None:
    facts = layer.metadata[METADATA_KEY]
    index = plane_indices(facts, layer.data)[number]
    with without_history(layer):
        layer.data[index] = spec.data
        layer.refresh()
    digests = [*facts["digest"]]
    digests[number] = checksum(layer.data[index])
    layer.metadata = {**layer.metadata, METADATA_KEY: {**facts, "digest": digests}}
