"""A finished run becomes layers, and what is under review."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latentfm_core.errors import ImageError
from latentfm_core.progress import finish
from napari_latentfm.background.job import Result
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.pyramid import level_zero
from napari_latentfm.layers.specs import LayerSpec, Role, result_layers
from napari_latentfm.layers.stacking import bring_forward
from napari_latentfm.layers.stacks import PlaneStack
from napari_latentfm.layers.update import AskAboutEdits, place_part, place_steps
from napari_latentfm.results.session import Reviewed, ReviewSession, session_of
from napari_latentfm.results.stack import StackReview
from napari_latentfm.results.stack_job import StackRun

if TYPE_CHECKING:
    from collections.abc import Collection, Generator
    from pathlib import Path

    import napari
    from napari.layers import Image


def show_result(
    viewer: napari.viewer.Viewer,
    reviewed: Reviewed,
    ask: AskAboutEdits,
    roles: Collection[Role] | None = None,
) -> bool:
    """Put the layers of a result into the viewer, and the result under review.

    A panel does it by `show_result_steps`, which lets the window answer between the layers.

    A plane that is drawn anew as a plane of the stack under review, such as with strokes, is
    written into the layers of that stack.

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
    return finish(show_result_steps(viewer, reviewed, ask, roles))


def show_result_steps(
    viewer: napari.viewer.Viewer,
    reviewed: Reviewed,
    ask: AskAboutEdits,
    roles: Collection[Role] | None = None,
) -> Generator[None, None, bool]:
    """Do what `show_result` does, one layer at a time.

    Closing the generator leaves the layers, and what is under review, as they were.
    """
    result, session = reviewed.result, session_of(viewer)
    stack = session.stack
    number = None if stack is None else stack.number_of(reviewed)
    if stack is None or number is None:
        return (yield from _show_alone(viewer, reviewed, ask, roles))
    specs = _specs(reviewed.layer, reviewed.plane, result, roles)
    if not place_part(viewer, specs, stack.planes, number, ask):
        return False
    bring_forward(viewer, reviewed.layer)
    stack.renew(number, result)
    return True


@dataclass(frozen=True)
class Drawn:
    """What a run was about, and its result: a plane, or all planes of a stack.

    Attributes
    ----------
    layer, plane, model, label
        As those of `Reviewed`, but the plane may be a stack of them.
    result
        Of a stack a `StackRun`.
    """

    layer: Image
    plane: Plane | PlaneStack
    model: str | Path
    result: Result
    label: int | None = None


def last_drawn(session: ReviewSession) -> Drawn | None:
    """Return the run whose result is under review."""
    stack, last = session.stack, session.current
    if stack is not None:
        return Drawn(stack.layer, stack.planes, stack.model, stack.run)
    if last is None:
        return None
    return Drawn(last.layer, last.plane, last.model, last.result, last.label)


def show_drawn_steps(
    viewer: napari.viewer.Viewer,
    drawn: Drawn,
    ask: AskAboutEdits,
    roles: Collection[Role] | None = None,
) -> Generator[None, None, bool]:
    """Do what `show_result_steps` does with the whole result of a run, with layers of its own.

    Of a stack, the plane on screen comes under review, and another one when the slider moves.

    Raises
    ------
    ImageError
        As `show_result`.
    """
    layer, plane, model, result = drawn.layer, drawn.plane, drawn.model, drawn.result
    if isinstance(plane, Plane):
        reviewed = Reviewed(layer, plane, model, result, drawn.label)
        return (yield from _show_alone(viewer, reviewed, ask, roles))
    if not isinstance(result, StackRun):
        raise TypeError("the result of a stack is a StackRun")
    specs = _specs(layer, plane, result, roles)
    if not (yield from place_steps(viewer, specs, ask)):
        return False
    bring_forward(viewer, layer)
    session_of(viewer).follow(StackReview(viewer, layer, plane, model, result))
    return True


def _show_alone(
    viewer: napari.viewer.Viewer,
    reviewed: Reviewed,
    ask: AskAboutEdits,
    roles: Collection[Role] | None,
) -> Generator[None, None, bool]:
    specs = _specs(reviewed.layer, reviewed.plane, reviewed.result, roles)
    if not (yield from place_steps(viewer, specs, ask)):
        return False
    bring_forward(viewer, reviewed.layer)
    session_of(viewer).show(reviewed)
    return True


def _specs(
    layer: Image, plane: Plane | PlaneStack, result: Result, roles: Collection[Role] | None
) -> list[LayerSpec]:
    if level_zero(layer).shape[: layer.ndim] != plane.layer_shape:
        raise ImageError(f"{layer.name!r} was changed during the run. Run again.")
    specs = result_layers(layer, plane, result.samples, result.summary)
    return [spec for spec in specs if roles is None or spec.role in roles]
