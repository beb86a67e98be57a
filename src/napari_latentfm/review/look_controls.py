"""Controls of the overlays: plain image, proposals, opacity, and a legend of colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSlider, QVBoxLayout, QWidget

from latentfm_core.colours import ROLE_COLOURS, label_colour, outline_colour
from napari_latentfm.background.signals import listen
from napari_latentfm.layers.specs import confidence_colour, mean_colour, sample_colour
from napari_latentfm.layers.stacking import FAINT, is_visible
from napari_latentfm.layers.strokes import not_colour, sure_colour
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.review.overlay_look import OverlayLook, is_proposal
from napari_latentfm.review.thumbnails import PREVIEW_COLOUR
from napari_latentfm.ui.common import push_button, row_of, wrapped_text

OFF = "The proposals are hidden. Press Shift+Q to see what would be accepted."
FADED = "Everything on the image is faded. Raise Opacity in the section Compare, then accept."
UNSEEN = "{name!r} is hidden. Show it in the layer list to see what would be accepted."
LISTED = 6
"""Largest number of classes in the legend."""

Entry = tuple[str, str]
"""A colour and its meaning."""


class LookControls(QWidget):
    """Shows and hides the layers on the image under review."""

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self._session = session
        self._image = ""
        self.look = look = OverlayLook(session)
        self._lay_out()
        listen(self, look.changed, self._show_state)
        listen(self, session.changed, self._on_changed)
        self.destroyed.connect(lambda: look.disconnect())
        self._on_changed()

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return the actions by napari key string."""
        return {"0": self.toggle_plain, "Shift-Q": self.toggle_proposals}

    def toggle_plain(self) -> None:
        """Show the image alone, or with all its layers."""
        self.look.show_plain(not self.look.plain)

    def toggle_proposals(self) -> None:
        """Show or hide mean mask, samples, confidence and contours."""
        self.look.hide_proposals(not self.look.proposals_hidden)

    def unseen(self, layers: Sequence[Layer | None]) -> str:
        """Return what to do if one of the layers to accept is not visible, or ""."""
        layer = next((each for each in layers if each is not None and not is_visible(each)), None)
        if layer is None:
            return ""
        if not layer.visible:
            hidden = self.look.proposals_hidden and is_proposal(layer)
            return OFF if hidden else UNSEEN.format(name=layer.name)
        return FADED if self.opacity.value() < 100 else UNSEEN.format(name=layer.name)

    def release(self) -> None:
        """Restore every layer."""
        self.opacity.setValue(100)
        self.look.release()

    def _on_changed(self) -> None:
        self.look.renew()
        reviewed = self._session.current
        entries: list[Entry] = []
        if reviewed is not None:
            image, before = str(reviewed.layer.unique_id), self._image
            self._image = image
            if image != before and self.opacity.value() <= 100 * FAINT:
                self.opacity.setValue(100)  # another image is not begun with nothing on it
            several = reviewed.result.summary.class_confidence is not None
            samples = reviewed.result.samples
            entries = legend(samples.classes, several, samples.colours)
        self.legend.setText(" ".join(_swatch(*entry) for entry in entries))
        self.legend.setVisible(bool(entries))

    def _show_state(self) -> None:
        self.plain_button.setChecked(self.look.plain)
        self.proposals_button.setChecked(not self.look.proposals_hidden)

    def _lay_out(self) -> None:
        self.plain_button = push_button(
            "Plain image (0)",
            "Hide everything on the image, and show it again.",
            self.toggle_plain,
        )
        self.proposals_button = push_button(
            "Proposals (Shift+Q)",
            "Show mean mask, samples, confidence and contours. Taking a mask hides them.",
            self.toggle_proposals,
        )
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(100)
        self.opacity.setToolTip("Opacity of everything on the image.")
        self.opacity.valueChanged.connect(lambda value: self.look.fade(value / 100))
        self.legend = wrapped_text("Meaning of the colours.", Qt.TextFormat.RichText)
        self.plain_button.setCheckable(True)
        self.proposals_button.setCheckable(True)
        fading = row_of(QLabel("Opacity"), self.opacity)
        fading.setStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row_of(self.plain_button, self.proposals_button))
        layout.addLayout(fading)
        layout.addWidget(self.legend)


def legend(classes: Sequence[str], several: bool, own: Sequence[str] = ()) -> list[Entry]:
    """Return the legend of colours.

    Parameters
    ----------
    several
        Whether outlines have the colours of their classes.
    own
        The model's own colours of its classes; empty if it has none.
    """
    if several:
        outlines = [
            (outline_colour(number, own), name)
            for number, name in enumerate(classes[:LISTED], start=1)
        ]
    else:
        outlines = [(mean_colour(own), "mean mask"), (sample_colour(own), "sample")]
        outlines.append((PREVIEW_COLOUR, "hypothesis"))
    # With own colours the labels of the annotation look like the classes, which are listed.
    annotation = [] if several and own else [(label_colour(1, own), "annotation")]
    strokes = [
        (sure_colour(label, own), f"certain {name}")
        for label, name in enumerate(classes[: 1 if several else None], start=1)
    ]
    uncertain = (ROLE_COLOURS["uncertain region"], "uncertain region")
    confidence = (confidence_colour(), "low confidence")
    background = (not_colour(own), "certain background")
    return [*outlines, uncertain, confidence, *annotation, *strokes, background]


def _swatch(colour: str, text: str) -> str:
    # No line break between a colour and its meaning.
    words = escape(text).replace(" ", "&nbsp;")
    return f'<span style="color:{colour}">■</span>&nbsp;{words}&nbsp;'
