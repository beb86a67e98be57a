"""The controls of the sampling panel; defaults and bounds come from `SamplingConfig`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from magicgui.types import FileDialogMode
from magicgui.widgets import (
    ComboBox,
    Container,
    FileEdit,
    FloatSpinBox,
    Label,
    ProgressBar,
    PushButton,
    Slider,
    SpinBox,
)
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

from latentfm_core.config import (
    SAMPLE_SLIDER_MAX,
    SamplingConfig,
    SolverName,
    TilingConfig,
    sampling_settings,
    tiling_settings,
)
from latentfm_core.errors import LatentFMError, ModelFolderError, ResourceError
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import DISCLAIMER, ModelCard, read_card
from napari_latentfm.sampling.plane_choice import PlaneChoice
from napari_latentfm.ui.choices import FOLDER_CHOICE, bounds, model_choices
from napari_latentfm.ui.common import narrow, show_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.layers import Image

DEVICES = ("auto", "cpu", "cuda", "mps")
LABEL_WIDTH = 84
"""Pixels."""
NOT_RESOLVED = "shown after the first run"
CALIBRATED, RAW = "calibrated", "raw"
WHOLE, VISIBLE, TILES = "whole image", "visible field", "all, in tiles"
CONFIDENCE_TOOLTIP = (
    "calibrated: the chance that a pixel of the mean mask agrees with an expert. raw: 1 - 4 "
    "variance of the samples. Also changes the mean probability; a change applies at once to the "
    "last result, without new samples."
)
NO_CALIBRATION_TOOLTIP = (
    "This model has no calibration, so that the confidence is raw: 1 - 4 variance of the samples. "
    "The command latentfm-calibrate fits one to validation images."
)
DEFAULTS = SamplingConfig()
_RESTORED = ("n_samples", "steps", "solver", "seed", "device", "confidence", "scale", "results")


class SamplingForm(Container[Any]):
    """Controls, status line and progress bar; knows nothing of the viewer or the job.

    Parameters
    ----------
    images
        Returns the ``(name, layer)`` choices of the image box.
    """

    def __init__(self, images: Callable[[Any], list[tuple[str, Image]]]) -> None:
        self.image = ComboBox(
            choices=images,
            label="Image",
            tooltip="Image layer to segment: grey or RGB, one image or a stack.",
        )
        self.plane_choice = PlaneChoice()
        self.field = ComboBox(
            choices=(WHOLE, VISIBLE, TILES),
            label="Field",
            tooltip="The whole image as the model's one picture; or only what the window shows of "
            "it, which becomes a layer of its own; or all of a large image in overlapping tiles, "
            "written to disk.",
        )
        self._add_tiling_controls()
        self._card: ModelCard | None = None
        self._add_model_controls()
        self._add_sampling_controls()
        self._add_run_controls()
        super().__init__()
        # Added after the start, since only then magicgui gives the labels one width.
        self.extend(
            [
                self.image,
                *self.plane_choice.rows,
                self.field,
                self.scale,
                self.results,
                self.model,
                self.folder,
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
        self._align_labels()
        self._toggle_folder()
        self._toggle_tiling()
        self._take_model()

    def _add_tiling_controls(self) -> None:
        self.scale = FloatSpinBox(
            value=TilingConfig().scale,
            min=0.01,
            max=1.0,
            step=0.01,
            label="Scale",
            tooltip="Pixels that the network sees per image pixel, along a side. Choose it so that "
            "an object is about as large in a tile (the model's canvas) as in the images that the "
            "model was trained on.",
        )
        self.results = FileEdit(
            mode=FileDialogMode.EXISTING_DIRECTORY,
            label="Results",
            tooltip="Folder in which the maps are written, under the name of the image. Nothing "
            "is overwritten.",
        )
        self.results.choose_btn.text = "Browse…"
        self.field.changed.connect(self._toggle_tiling)

    def _add_model_controls(self) -> None:
        self.model = ComboBox(
            choices=model_choices(),
            label="Model",
            tooltip="A bundled model, or the folder of a model or ensemble from latentfm-train.",
        )
        narrow(self.model.native)
        self.folder = FileEdit(
            mode=FileDialogMode.EXISTING_DIRECTORY,
            label="Folder",
            tooltip="Folder that holds model.json and model.safetensors, or an ensemble: a folder "
            "of such folders.",
        )
        self.folder.choose_btn.text = "Browse…"
        self.model.changed.connect(self._toggle_folder)
        self.model.changed.connect(self._take_model)
        self.folder.changed.connect(self._take_model)

    def _add_sampling_controls(self) -> None:
        low, high = bounds("n_samples")
        # napari's theme leaves no room for the text of magicgui's own readout.
        self.n_samples = Slider(
            value=DEFAULTS.n_samples,
            min=low,
            max=min(high, SAMPLE_SLIDER_MAX),
            readout=False,
            tooltip="Number of plausible masks to draw. More make the mean and the confidence "
            "map steadier, and take longer.",
        )
        self.sample_count = Label(value=str(DEFAULTS.n_samples))
        self.sample_count.min_width = 24
        self.samples_row = _row(self.n_samples, self.sample_count, label="Samples")
        self.n_samples.changed.connect(self._show_sample_count)
        self.steps = SpinBox(
            value=DEFAULTS.steps,
            min=bounds("steps")[0],
            max=bounds("steps")[1],
            label="ODE steps",
            tooltip="Steps of the ODE solver from noise to mask. More are more exact and slower.",
        )
        self.solver = ComboBox(
            value=DEFAULTS.solver,
            choices=get_args(SolverName),
            label="Solver",
            tooltip="ODE solver. Euler evaluates the network once per step, midpoint and heun "
            "twice, rk4 four times.",
        )
        self.seed = SpinBox(
            value=DEFAULTS.seed,
            min=bounds("seed")[0],
            max=bounds("seed")[1],
            label="Seed",
            tooltip="Equal seeds and settings give equal masks; sample n uses seed + n.",
        )
        self.confidence = ComboBox(
            choices=(CALIBRATED, RAW), label="Confidence", tooltip=CONFIDENCE_TOOLTIP
        )
        self.device = ComboBox(
            value=DEFAULTS.device,
            choices=DEVICES,
            label="Device",
            tooltip="Where the network runs; auto takes a GPU if there is one.",
        )
        self.device_label = _text_line(
            "Runs on",
            "Device and number format (precision). Samples in bfloat16 and in float32 differ a "
            "little, also with the same seed.",
        )
        self.device.changed.connect(self.show_device)

    def _add_run_controls(self) -> None:
        self.run_button = PushButton(
            text="Run", tooltip="Draw the samples and show them as layers."
        )
        self.cancel_button = PushButton(
            text="Cancel",
            enabled=False,
            tooltip="Stop within one ODE step; the layers stay as they are.",
        )
        self.unload_button = PushButton(
            text="Unload",
            tooltip="Give the memory of the model back; the next run loads it again.",
        )
        self.buttons = _row(self.run_button, self.cancel_button, self.unload_button)
        self.progress = ProgressBar(
            value=0, min=0, max=1, label="Progress", tooltip="ODE steps done."
        )
        self.status = _text_line("Status", "What the panel is doing, or how the last run ended.")
        self.disclaimer = _text_line("", "", DISCLAIMER)

    def settings(self) -> SamplingConfig:
        """Return the validated sampling settings; what has no control is as on the model's card.

        Raises
        ------
        ConfigError
            If a value is out of range.
        """
        return sampling_settings(
            self._base(),
            n_samples=self.n_samples.value,
            steps=self.steps.value,
            solver=self.solver.value,
            seed=self.seed.value,
            device=self.device.value,
            calibrated=self.confidence.value == CALIBRATED,
        )

    def tiling(self) -> TilingConfig:
        """Return the validated settings of tiles.

        Raises
        ------
        ConfigError
            If a value is out of range.
        """
        return tiling_settings(scale=self.scale.value)

    def state(self) -> dict[str, Any]:
        """Return the choices as JSON values, for `restore`."""
        return {
            "model": self.model.value,
            "folder": self.folder.line_edit.value.strip(),
            "n_samples": self.n_samples.value,
            "steps": self.steps.value,
            "solver": self.solver.value,
            "seed": self.seed.value,
            "device": self.device.value,
            "confidence": self.confidence.value,
            "scale": self.scale.value,
            "results": self.results.line_edit.value.strip(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over choices; what is unknown or out of range here is left as it is."""
        # The model first: it brings settings of its own.
        for name in ("folder", "model", *_RESTORED):
            control = getattr(self, name)
            # A box for folders would take an empty text for the folder that napari started in.
            if state.get(name, "") != "":
                with contextlib.suppress(ValueError, TypeError):
                    control.value = state[name]

    def model_source(self) -> str | Path:
        """Return the name of the bundled model, or the folder.

        Raises
        ------
        ModelFolderError
            If a folder is wanted and none is given.
        """
        if self.model.value != FOLDER_CHOICE:
            return str(self.model.value)
        if not self.folder.line_edit.value.strip():
            raise ModelFolderError(
                "No model folder is given. Choose the folder that latentfm-train wrote, or a "
                "bundled model."
            )
        return Path(self.folder.line_edit.value.strip())

    def refresh_card(self) -> None:
        """Read the model's card again: it may have been calibrated meanwhile."""
        card = self._read_card()
        if card != self._card:
            self._card = card
            self._offer_confidence()

    def set_running(self, running: bool) -> None:
        """Enable what can be used now."""
        for control in (
            self.image,
            *self.plane_choice.rows,
            self.field,
            self.scale,
            self.results,
            self.model,
            self.folder,
            self.n_samples,
            self.steps,
            self.solver,
            self.seed,
            self.device,
            self.run_button,
            self.unload_button,
        ):
            control.enabled = not running
        self.confidence.enabled = not running and self._is_calibrated()
        self.cancel_button.enabled = running
        self.progress.native.setFormat("%p%" if running else "")
        if not running:
            self.show_progress(0, 1)

    def show_done(self) -> None:
        """Show that a run has ended well."""
        self.progress.native.setFormat("done")
        self.show_progress(1, 1)

    def show_progress(self, done: int, total: int) -> None:
        """Show `done` of `total`; a total of 0 shows that something goes on."""
        show_progress(self.progress.native, done, total)

    def _align_labels(self) -> None:
        # magicgui measures labels with Qt's font; napari's theme has a larger one.
        texts = {control.label for control in self if control.label}
        for label in self.native.findChildren(QLabel):
            if label.text() in texts:
                label.setMinimumWidth(LABEL_WIDTH)

    def _show_sample_count(self, count: int) -> None:
        self.sample_count.value = str(count)

    def _toggle_tiling(self) -> None:
        self.scale.visible = self.results.visible = self.field.value == TILES

    def _toggle_folder(self) -> None:
        self.folder.visible = self.model.value == FOLDER_CHOICE

    def _read_card(self) -> ModelCard | None:
        try:
            return read_card(resolve_model(self.model_source()))
        except LatentFMError:
            return None  # a run with it will say what is wrong

    def _base(self) -> SamplingConfig:
        return DEFAULTS if self._card is None else self._card.config.sampling

    def _is_calibrated(self) -> bool:
        return self._card is not None and self._card.calibration is not None

    def _take_model(self) -> None:
        """Take over how the chosen model is meant to be sampled."""
        self._card = self._read_card()
        if self._card is not None:
            base = self._base()
            self.n_samples.value = min(base.n_samples, SAMPLE_SLIDER_MAX)
            self.steps.value = base.steps
            self.solver.value = base.solver
        self._offer_confidence()
        self.show_device()

    def _offer_confidence(self) -> None:
        calibrated = self._is_calibrated()
        self.confidence.enabled = calibrated
        self.confidence.tooltip = CONFIDENCE_TOOLTIP if calibrated else NO_CALIBRATION_TOOLTIP
        self.confidence.value = CALIBRATED if calibrated and self._base().calibrated else RAW

    def show_device(self) -> None:
        """Show device and precision of the next run, as far as they are known."""
        # Importing PyTorch to say this would make the panel slow to open.
        self.device_label.value = NOT_RESOLVED
        if "torch" in sys.modules:
            from latentfm_core.inference.device import describe, resolve_device, resolve_precision

            try:
                device = resolve_device(self.device.value)
                dtype = resolve_precision(self._base().precision, device)
                self.device_label.value = describe(device, dtype)
            except ResourceError:
                self.device_label.value = "not available on this machine"


def _row(*widgets: Any, label: str = "") -> Container[Any]:
    row = Container(widgets=widgets, layout="horizontal", labels=False, label=label)
    row.margins = (0, 0, 0, 0)
    return row


def _text_line(label: str, tooltip: str, value: str = "") -> Label:
    line = Label(value=value, label=label, tooltip=tooltip or None)
    line.native.setWordWrap(True)
    line.native.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    line.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return line
