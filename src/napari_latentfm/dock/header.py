"""The header of the dock: image, model, samples and run, with the other settings folded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_latentfm.dock.channel_choice import ChannelChoice
from napari_latentfm.sampling.controls import WHOLE
from napari_latentfm.ui.collapsible import Collapsible

if TYPE_CHECKING:
    import napari

    from napari_latentfm.background.job import Update
    from napari_latentfm.sampling.form import SamplingForm
    from napari_latentfm.sampling.panel import SamplingPanel

ADVANCED = "Advanced"
LABEL_WIDTH = 66
"""Least width in pixels of the labels in the header."""


class Header(QWidget):
    """Lays out the controls of a sampling panel, which still operates them.

    Attributes
    ----------
    status, advanced
        The status line and the folded settings, for the scrolling part of the dock.
    """

    def __init__(self, panel: SamplingPanel, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._panel, form = panel, panel.form
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 2)
        layout.setSpacing(2)
        self.channel = ChannelChoice(viewer, LABEL_WIDTH)
        layout.addWidget(_narrowed(_with_label(form, form.image)))
        layout.addWidget(self.channel)
        for control in form.plane_choice.rows:
            layout.addWidget(_narrowed(_with_label(form, control)))
        layout.addWidget(_narrowed(form.model_row))
        layout.addWidget(_narrowed(_with_label(form, form.samples_row)))
        form.image.changed.connect(self._offer_channels)
        self.channel.found.connect(self._on_channels)
        self._offer_channels()
        form.run_button.tooltip = f"{form.run_button.tooltip} (Ctrl+R)"
        buttons = QHBoxLayout()
        buttons.setSpacing(3)
        for button in (form.run_button, form.cancel_button):
            buttons.addWidget(button.native)
        layout.addLayout(buttons)
        self._bar = form.progress.native
        self._bar.setMaximumHeight(14)
        layout.addWidget(self._bar)
        self.status: QWidget = form.status.native
        self.advanced = self._advanced(form)
        form.field.changed.connect(self._name_field)
        self._bar.setFormat("")

    def follow(self, update: Update) -> None:
        """Show the progress of samples that are drawn for the work list or after strokes."""
        if not self._panel.running:
            self._panel.form.show_update(update)

    def settle(self, ending: str) -> None:
        """Show how the drawing of samples for the work list or after strokes has ended."""
        if self._panel.running:
            return
        self._bar.setFormat("")
        self._panel.form.show_progress(0, 1)
        if ending == "done":
            self._panel.form.show_done()

    def _offer_channels(self, _value: Any = None) -> None:
        self.channel.offer(self._panel.form.image.value)

    def _on_channels(self, _layer: object) -> None:
        self._panel.images.offer_planes()

    def _advanced(self, form: SamplingForm) -> Collapsible:
        section = Collapsible(ADVANCED, "Field, ODE solver, seed, confidence and device.")
        for control in (
            form.field,
            form.scale,
            form.results,
            form.steps,
            form.solver,
            form.seed,
            form.confidence,
            form.device,
            form.device_label,
        ):
            section.add(_with_label(form, control))
        form.unload_button.text = "Unload model"
        section.add(form.unload_button.native)
        return section

    def _name_field(self, field: str) -> None:
        # A choice that differs from the usual is visible while the section is folded.
        suffix = "" if field == WHOLE else f": {field}"
        self.advanced.header.setText(f"{ADVANCED}{suffix}")


def _with_label(form: SamplingForm, control: Any) -> QWidget:
    """Return a control with the label that magicgui has put next to it."""
    native: QWidget = control.native
    row = native.parentWidget()
    return native if row is None or row is form.native else row


def _narrowed(row: QWidget) -> QWidget:
    """Return a row whose label, its first widget, takes little room."""
    label = next(iter(row.findChildren(QLabel)), None)
    if label is not None:
        # Wider if its text is, in fonts of any size.
        label.setMinimumWidth(LABEL_WIDTH)
        label.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
    return row
