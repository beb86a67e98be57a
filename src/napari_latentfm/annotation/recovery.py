"""Recovery of an annotation that was autosaved but not exported."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from latentfm_core.annotation.autosave import Autosaved, AutosaveStore
from latentfm_core.errors import LatentFMError
from napari_latentfm.annotation.file_export import signature_of
from napari_latentfm.annotation.layer import annotation_of, annotation_on
from napari_latentfm.annotation.restoring import add_labels, restore
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.pyramid import level_zero
from napari_latentfm.notices import show_error
from napari_latentfm.reading import reading_limits

if TYPE_CHECKING:
    from pathlib import Path

    from napari_latentfm.annotation.autosave import Autosaver
    from napari_latentfm.results.session import ReviewSession
    from napari_latentfm.results.stack_review import StackReview

Choice = Literal["recover", "compare", "discard", "later"]
UNANSWERED = (
    "It has unsaved work. Recover, compare or discard it first, at the top of the window or in "
    "section Annotation."
)


@dataclass(frozen=True)
class Offer:
    """An autosaved annotation of an image, and a plane of that image."""

    layer: Image
    plane: Plane
    signature: str
    state: Autosaved
    labels: NDArray[Any]

    @property
    def question(self) -> str:
        """The question for the user."""
        info = self.state.info
        parts = [f"{sum(label.pixels for label in info.labels):,} labelled pixels"]
        if info.strokes:
            parts.append(f"{info.strokes} edit{'s' * (info.strokes > 1)} by hand")
        if round(info.seconds):
            parts.append(f"{duration(info.seconds)} of work")
        start = f"Unsaved annotation of {info.image}, autosaved {when(info.created)}"
        return f"{start}: {', '.join(parts)}."


class Recovery:
    """Looks for an autosaved annotation when an image without one is opened or comes under review.

    An annotation begins with samples. Recovering one of an image without a result therefore asks
    for a run first, and is done when its result is under review.

    Attributes
    ----------
    offered
        Emitted with an `Offer`, or with None when it is withdrawn or answered.
    samples_needed
        Emitted with the image that has to be run before its annotation can be recovered.
    recovered
        Emitted with the provenance of an annotation that was recovered, and how to undo that.
    ask
        Answers an offer at once; None leaves it open until `answer` is called.
    """

    offered = Signal(object)
    recovered = Signal(object, str)
    samples_needed = Signal(object)

    def __init__(self, session: ReviewSession, autosaver: Autosaver) -> None:
        self._session, self._autosaver = session, autosaver
        self._answered: set[Path] = set()
        # By signature: what is painted beside an offer is autosaved, too, and is newer.
        self._unanswered: dict[str, Offer] = {}
        self.ask: Callable[[str], Choice] | None = None
        self.offer: Offer | None = None
        self._image: Image | None = None
        self._is_awaited = False
        self._searches = 0
        self._looked: Callable[[], StackReview | None] = _nothing
        session.changed.connect(self.look)
        self.look()

    def look(self) -> None:
        """Look for an autosaved annotation of the image under review, in a worker thread."""
        reviewed = self._session.current
        if self.offer is not None:
            under = self._image if reviewed is None else reviewed.layer
            if under is self.offer.layer:
                if reviewed is not None and self._is_awaited:
                    # The layers of the result are still being put into place.
                    QTimer.singleShot(0, self._recover_awaited)
                return
            self._put(None)
        stack = self._session.stack
        if stack is not None and stack is self._looked():
            return  # only the slider moved
        self._looked = _nothing if stack is None else ref(stack)
        if reviewed is not None:
            self._image = None
            self._submit(reviewed.layer, reviewed.plane)

    def look_at(self, image: Image | None) -> None:
        """Look for an autosaved annotation of an image that has no result yet."""
        if self._session.current is not None or image is self._image:
            return
        self._image = image
        if self.offer is not None and self.offer.layer is not image:
            self._put(None)
        if image is not None and self.offer is None and image.ndim >= 2:
            self._submit(image, _first_plane(image))

    def unanswered(self) -> str:
        """Return why nothing of the image can be saved as finished yet, or "".

        Saving archives all autosaved work on the image, also what is still being searched for.
        """
        if self._searches:
            self._autosaver.work.drain()
        return "" if self.offer is None else UNANSWERED

    def answer(self, choice: Choice) -> None:
        """Answer the open offer.

        ``"compare"`` adds the saved labels as another layer and leaves the offer open;
        ``"later"`` keeps them for the next session.
        """
        offer, undo = self.offer, ""
        if offer is None:
            return
        try:
            if choice == "recover" and not self._is_reviewed(offer):
                self._is_awaited = True
                self.samples_needed.emit(offer.layer)
                return
            if choice == "recover":
                _, undo = restore(self._session, offer.labels, offer.state.info)
                self._autosaver.watch()
            elif choice == "compare":
                name = f"{offer.layer.name} · autosaved {when(offer.state.info.created)}"
                colours = offer.state.info.class_colours
                add_labels(self._session, offer, offer.labels, name, colours)
                return
            elif choice == "discard":
                self._discard(offer)
        except LatentFMError as error:
            show_error(str(error))
            return
        self._answered.add(offer.state.file)
        self._unanswered.pop(offer.signature, None)
        self._put(None)
        if choice == "recover":
            self.recovered.emit(offer.state.info, undo)

    def close(self) -> None:
        """Stop looking; for a closing window."""
        self._session.changed.disconnect(self.look, missing_ok=True)

    def withdraw(self) -> None:
        """Close the offer without an answer, for example after an export."""
        if self.offer is not None:
            self._unanswered.pop(self.offer.signature, None)
        self._put(None)

    def _submit(self, image: Image, plane: Plane) -> None:
        task = partial(_find, self._autosaver.store, image, plane, dict(self._unanswered))
        self._searches += 1
        self._autosaver.work.submit(task, self._on_searched)

    def _is_reviewed(self, offer: Offer) -> bool:
        current = self._session.current
        return current is not None and current.layer is offer.layer

    def _recover_awaited(self) -> None:
        if self._is_awaited and self.offer is not None and self._is_reviewed(self.offer):
            self.answer("recover")

    def _discard(self, offer: Offer) -> None:
        own = self._autosaver.writer_of(annotation_of(self._session, create=False))
        task = partial(self._autosaver.store.discard, offer.signature, own)
        self._autosaver.work.submit(task)

    def _on_searched(self, offer: Any) -> None:
        self._searches -= 1
        # An error of the image is reported elsewhere.
        if not isinstance(offer, Offer) or offer.state.file in self._answered:
            return
        current = self._session.current
        under = self._image if current is None else current.layer
        if under is not offer.layer or self.offer is not None:
            return
        layer = annotation_on(self._session.viewer, offer.layer, offer.plane)
        own = offer.state.writer == self._autosaver.writer_of(layer)
        is_known = own or (layer is not None and layer.data.any() and not _is_newer(offer, layer))
        if is_known and offer.signature not in self._unanswered:
            return
        self._unanswered[offer.signature] = offer
        self._put(offer)
        if self.ask is not None:
            self.answer(self.ask(offer.question))

    def _put(self, offer: Offer | None) -> None:
        if offer is not self.offer:
            self.offer, self._is_awaited = offer, False
            self.offered.emit(offer)


def duration(seconds: float) -> str:
    """Return a time span as text."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _first_plane(image: Image) -> Plane:
    shape = tuple(level_zero(image).shape[: image.ndim])
    index = (*(0 for _ in shape[:-2]), None, None)
    return Plane((shape[-2], shape[-1]), index, shape)


def _find(
    store: AutosaveStore, image: Image, plane: Plane, unanswered: Mapping[str, Offer]
) -> Offer | None:
    if not store.images():
        return None  # saves reading a large image
    signature = signature_of(image)
    if signature in unanswered:
        return replace(unanswered[signature], layer=image, plane=plane)
    limits = reading_limits()
    state = store.newest(signature, limits)
    if state is None:
        return None
    labels = state.labels(limits)
    # An empty annotation is not worth recovering.
    return Offer(image, plane, signature, state, labels) if labels.any() else None


def _is_newer(offer: Offer, layer: Labels) -> bool:
    """Return whether a state was saved after the file that an annotation was restored from."""
    since = record_of(layer).restored
    same = layer.data.shape == offer.labels.shape and np.array_equal(layer.data, offer.labels)
    return bool(since) and offer.state.info.created > since and not same


def _nothing() -> None:
    return None


def when(created: str) -> str:
    """Return a time of saving as text: the time of day, and the date unless it is today."""
    try:
        moment = datetime.datetime.fromisoformat(created).astimezone()
    except ValueError:
        return "some time ago"
    today = moment.date() == datetime.date.today()
    return moment.strftime("%H:%M" if today else "%d %b %Y %H:%M")
