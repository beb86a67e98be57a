"""The controls of the sampling panel; defaults and bounds come from `SamplingConfig`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, Label
from qtpy.QtWidgets import QLabel

from latentfm_core.config import (
    SAMPLE_SLIDER_MAX,
    SamplingConfig,
    TilingConfig,
    sampling_settings,
    tiling_settings,
)
from latentfm_core.errors import LatentFMError, ResourceError
from latentfm_core.model_io.card import DISCLAIMER, ModelCard
from latentfm_core.model_io.usable import usability_warning
from napari_latentfm.sampling import controls
from napari_latentfm.sampling.controls import CALIBRATED, DEFAULTS, RAW, TILES
from napari_latentfm.sampling.plane_choice import PlaneChoice
from napari_latentfm.ui.choices import card_of
from napari_latentfm.ui.common import labelled, show_progress
from napari_latentfm.ui.model_chooser import ModelChooser

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image

    from napari_latentfm.background.job import Update

LABEL_WIDTH = 84
"""Pixels."""
ENSEMBLE = "Ensemble of"
NOT_RESOLVED = "shown after the first run"


class SamplingForm(Container[Any]):
    """Controls, status line and progress bar, independent of viewer and job.

    Parameters
    ----------
    images
        Returns the ``(name, layer)`` choices of the image box.

    Attributes
    ----------
    stand_in
        Returns the model to use in place of the chosen one.
    """

    def __init__(self, images: Callable[[Any], list[tuple[str, Image]]]) -> None:
        self.image = ComboBox(
            choices=images,
            label="Image",
            tooltip="Image layer to segment: grey or RGB, one image or a stack.",
        )
        self.plane_choice = PlaneChoice()
        self.field = controls.field_box()
        self.scale = controls.scale_box()
        self.results = controls.results_edit()
        self.model = ModelChooser()
        self.stand_in: Callable[[str | Path], str | Path] = lambda source: source
        self._card: ModelCard | None = None
        self._note = ""
        self._make_sampling_controls()
        self._make_run_controls()
        super().__init__()
        self._add_rows()
        self._align_labels()
        self.model_row = labelled("Model", self.model, LABEL_WIDTH)
        self.native.layout().insertWidget(len(self._inputs), self.model_row)
        self._connect()
        self._toggle_tiling()
        self._take_model()

    def _make_sampling_controls(self) -> None:
        self.n_samples = controls.samples_slider()
        self.sample_count = Label(value=str(DEFAULTS.n_samples))
        self.sample_count.min_width = 24
        self.samples_row = controls.row(self.n_samples, self.sample_count, label="Samples")
        self.steps = controls.steps_box()
        self.solver = controls.solver_box()
        self.seed = controls.seed_box()
        self.confidence = controls.confidence_box()
        self.device = controls.device_box()
        self.device_label = controls.text_line(
            "Runs on",
            "Device and number format (precision). Samples in bfloat16 and in float32 differ "
            "slightly, even with the same seed.",
        )

    def _make_run_controls(self) -> None:
        self.run_button, self.cancel_button, self.unload_button = controls.run_buttons()
        self.buttons = controls.row(self.run_button, self.cancel_button, self.unload_button)
        self.progress = controls.progress_bar()
        self.status = controls.text_line("Status", "Progress, or the result of the last run.")
        self.disclaimer = controls.text_line("", "", DISCLAIMER)

    def _add_rows(self) -> None:
        # Called after the constructor of Container: only then magicgui aligns the labels.
        where = (self.image, *self.plane_choice.rows, self.field, self.scale, self.results)
        self._inputs = where
        self.extend(
            [
                *where,
                self.samples_row,
                self.steps,
                self.solver,
                self.seed,
                self.confidence,
                self.device,
                self.device_label,
                self.buttons,
                self.progress,
                self.status,
                self.disclaimer,
            ]
        )

    def _connect(self) -> None:
        self.field.changed.connect(self._toggle_tiling)
        self.model.changed.connect(self._take_model)
        self.n_samples.changed.connect(self._show_sample_count)
        self.device.changed.connect(self.show_device)

    def settings(self) -> SamplingConfig:
        """Return the sampling settings, others as on the card, or raise `ConfigError`.

        A stand-in without the network for few steps of the chosen model gets the steps of a flow.
        """
        settings = sampling_settings(
            self._base(),
            n_samples=self.n_samples.value,
            steps=self.steps.value,
            solver=self.solver.value,
            seed=self.seed.value,
            device=self.device.value,
            calibrated=self.confidence.value == CALIBRATED,
        )
        chosen = None if self._card is None else card_of(self.model.source())
        if self._card is None or chosen is None:
            return settings
        return self._card.config.sampling_for(settings, chosen.config)

    def tiling(self) -> TilingConfig:
        """Return the settings of tiles; raise `ConfigError` if one is out of range."""
        return tiling_settings(scale=self.scale.value)

    def model_source(self) -> str | Path:
        """Return the model to use: the chosen one, by its name or folder, or its stand-in.

        Raises
        ------
        ModelFolderError
            If the folder is not given.
        """
        return self.stand_in(self.model.source())

    def has_model(self) -> bool:
        """Return whether the chosen model can be read."""
        return self._card is not None

    def refresh_card(self) -> None:
        """Read the model's card again, which a calibration may have changed."""
        card = self._read_card()
        if card != self._card:
            self._card = card
            self._offer_confidence()

    def set_running(self, running: bool) -> None:
        """Enable the controls that can be used now."""
        for control in (
            *self._inputs,
            self.n_samples,
            self.steps,
            self.solver,
            self.seed,
            self.device,
            self.run_button,
            self.unload_button,
        ):
            control.enabled = not running
        self.model.setEnabled(not running)
        self.confidence.enabled = not running and self._is_calibrated()
        self.progress.native.setFormat("%p%" if running else "")
        if not running:
            self.show_idle()

    def show_idle(self) -> None:
        """Show no progress."""
        self.progress.native.setFormat("")
        self.show_progress(0, 1)

    def show_done(self) -> None:
        """Show that a run succeeded."""
        self.progress.native.setFormat("done")
        self.show_progress(1, 1)

    def show_update(self, update: Update) -> None:
        """Show which phase of a run is in progress, and how far it is."""
        phase = re.split("[,:…]", update.text)[0]
        phase = phase[:1].upper() + phase[1:]
        # Qt shows no text in a busy bar.
        self.progress.native.setFormat(f"{phase} %p%" if update.total else f"{phase}…")
        self.show_progress(update.done, update.total or 1)

    def show_progress(self, done: int, total: int) -> None:
        """Show `done` of `total`; a total of 0 shows a busy indicator."""
        show_progress(self.progress.native, done, total)

    def _align_labels(self) -> None:
        # magicgui measures labels in Qt's font; that of napari's theme is larger.
        texts = {control.label for control in self if control.label}
        for label in self.native.findChildren(QLabel):
            if label.text() in texts:
                label.setMinimumWidth(LABEL_WIDTH)

    def _show_sample_count(self, count: int) -> None:
        self.sample_count.value = str(count)

    def _toggle_tiling(self) -> None:
        self.scale.visible = self.results.visible = self.field.value == TILES

    def _read_card(self) -> ModelCard | None:
        try:
            return card_of(self.model_source())
        except LatentFMError:
            return None  # a run with this model reports the error

    def _base(self) -> SamplingConfig:
        return DEFAULTS if self._card is None else self._card.config.sampling

    def _is_calibrated(self) -> bool:
        return self._card is not None and self._card.calibration is not None

    def _take_model(self) -> None:
        """Adopt the sampling settings of the chosen model's card."""
        self._card = self._read_card()
        if self._card is not None:
            base = self._base()
            self.n_samples.value = min(base.n_samples, SAMPLE_SLIDER_MAX)
            self.steps.value = base.ode_steps
            self.solver.value = base.solver
        self._offer_confidence()
        self._name_model()
        self.show_device()

    def _name_model(self) -> None:
        """Say in the status line that the model is not usable or an ensemble, or no longer is."""
        notes = []
        if self._card is not None and (warning := usability_warning(self._card)):
            notes.append(f"⚠ {warning}")
        if self._card is not None and self._card.members:
            count = len(self._card.members)
            notes.append(f"{ENSEMBLE} {count} models that share the samples: draw {count} or more.")
        if notes or self.status.value == self._note:
            self._note = self.status.value = " ".join(notes)

    def _offer_confidence(self) -> None:
        calibrated = self._is_calibrated()
        tooltip = controls.CONFIDENCE_TOOLTIP if calibrated else controls.NO_CALIBRATION_TOOLTIP
        self.confidence.enabled, self.confidence.tooltip = calibrated, tooltip
        self.confidence.value = CALIBRATED if calibrated and self._base().calibrated else RAW

    def show_device(self) -> None:
        """Show device and precision of the next run, as far as they are known."""
        # Importing PyTorch for this would make the panel slow to open.
        self.device_label.value = NOT_RESOLVED
        if "torch" in sys.modules:
            from latentfm_core.inference.device import describe, resolve_device, resolve_precision

            try:
                device = resolve_device(self.device.value)
                dtype = resolve_precision(self._base().precision, device)
                self.device_label.value = describe(device, dtype)
            except ResourceError:
                self.device_label.value = "not available on this machine"
