"""Check whether the chosen model takes prompts, and offer one that does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from latentfm_core.config import ANY_OBJECT_MODEL
from latentfm_core.errors import LatentFMError
from latentfm_core.model_io.bundled import bundled_models
from napari_latentfm.ui.choices import card_of, title_of

if TYPE_CHECKING:
    from napari_latentfm.prompting.context import PromptContext


class PromptModel:
    """Offers a model that takes prompts in place of one that does not.

    Attributes
    ----------
    missing
        Emitted with a message when a prompt is drawn, or about to be, and the chosen model does
        not take any.
    """

    missing = Signal(str)

    def __init__(self, context: PromptContext) -> None:
        self._context = context

    def is_usable(self) -> bool:
        """Return whether the chosen model takes prompts; otherwise offer one that does."""
        form = self._context.form
        try:
            source = self._context.panel.form.model_source()
        except LatentFMError as error:
            form.show_message(str(error))
            return False
        if takes_prompts(source):
            form.notice.hide()
            return True
        card, better = card_of(source), promptable_model()
        name = str(source) if card is None else card.title or card.id
        form.notice.show_for(name, None if better is None else title_of(better))
        self.missing.emit(form.notice.text.text())
        return False

    def use_better(self) -> bool:
        """Choose a model that takes prompts; return whether there is one."""
        better = promptable_model()
        if better is not None:
            self._context.panel.form.model.choose(better)
        return better is not None

    def may_paint(self, image: object) -> bool:
        """Return whether strokes have an effect: without prompts they guide the reviewed result."""
        reviewed = self._context.session.current
        if reviewed is None or reviewed.layer != image:
            return self.is_usable()
        try:
            source = self._context.panel.form.model_source()
        except LatentFMError:
            return True  # no folder is chosen yet
        return not takes_prompts(source) or self.is_usable()


def takes_prompts(source: str | Path) -> bool:
    """Return whether a model takes prompts; True if its card cannot be read."""
    card = card_of(source)
    return card is None or card.config.model.prompts


def promptable_model() -> str | None:
    """Return the bundled model that takes prompts in images of any kind, or None."""
    return ANY_OBJECT_MODEL if ANY_OBJECT_MODEL in bundled_models() else None
