"""Keep the object under review in step with the plane on screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_latentfm.layers.strokes import strokes_of

if TYPE_CHECKING:
    from napari_latentfm.prompting.answers import Answers
    from napari_latentfm.prompting.context import PromptContext
    from napari_latentfm.prompting.following import Following
    from napari_latentfm.prompting.objects import PromptObject
    from napari_latentfm.prompting.stacks import FollowedStacks
    from napari_latentfm.results.session import Reviewed
    from napari_latentfm.sampling.plane import Place


class ObjectReview:
    """Shows the current object of the plane on screen, and keeps what is under review."""

    def __init__(
        self,
        context: PromptContext,
        answers: Answers,
        stacks: FollowedStacks,
        following: Following,
    ) -> None:
        self._context, self._session = context, context.session
        self._shown, self._selection = context.shown, context.selection
        self._answers, self._stacks, self._following = answers, stacks, following

    def show_current(self) -> None:
        """Show the current object of the plane on screen."""
        if self._context.panel.form.image.value is None:
            self._shown.clear()
            self._following.renew()
            return
        place, one = self._context.current()
        if place is None:
            return
        self._selection.adopt(place)
        reviewed, busy = self._session.current, self._answers.runner.busy
        if self._context.reviews_object_of(place.layer) and reviewed is not None:
            self._selection.stale.follow(self._session)
            if not busy and not _is_of(reviewed, place, one):
                if one is not None and one.samples is not None:
                    self._answers.show(place, one)
                elif reviewed.plane.index != place.plane.index:
                    self._show_without_object(place)
        elif reviewed is None and one is not None and not busy:
            self._answers.show(place, one)
        if not busy:
            self._answers.draw_restored()
        self._renew()

    def keep(self) -> bool:
        """Keep the result under review with its object; return whether it is that of an object."""
        reviewed = self._session.current
        if reviewed is None:
            return False
        self._stacks.remember()
        self._selection.stale.follow(self._session)
        if reviewed.label is not None:
            self._answers.keep(reviewed)
            if (strokes := strokes_of(self._context.viewer, reviewed.layer)) is not None:
                self._context.strokes.follow(strokes)
        self._renew()
        return reviewed.label is not None

    def _show_without_object(self, place: Place) -> None:
        whole = self._stacks.without_object(place)
        if whole is None:
            self._session.show(None)
        else:
            self._session.follow(whole)

    def _renew(self) -> None:
        self._shown.renew()
        self._following.renew()


def _is_of(reviewed: Reviewed, place: Place, one: PromptObject | None) -> bool:
    """Return whether a result is that of the object on screen; any object, if that is None."""
    is_here = reviewed.plane.index == place.plane.index
    return is_here and (one is None or reviewed.label == one.number)
