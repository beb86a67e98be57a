"""The widgets of the sampling form, with their labels, bounds and tooltips."""

from __future__ import annotations

from typing import Any, get_args

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
from qtpy.QtWidgets import QSizePolicy

from latentfm_core.config import SAMPLE_SLIDER_MAX, SamplingConfig, SolverName, TilingConfig
from napari_latentfm.ui.choices import bounds

DEVICES = ("auto", "cpu", "cuda", "mps")
CALIBRATED, RAW = "calibrated", "raw"
WHOLE, VISIBLE, TILES = "whole image", "current view", "all, in tiles"
CONFIDENCE_TOOLTIP = (
    "calibrated: the chance that a pixel of the mean mask agrees with an expert. raw: 1 - 4 "
    "variance of the samples. Also changes the mean probability; a change applies at once to the "
    "last result, without new samples."
)
NO_CALIBRATION_TOOLTIP = (
    "This model has no calibration, so the confidence is raw: 1 - 4 variance of the samples. "
    "The command latentfm-calibrate fits a calibration to validation images."
)
DEFAULTS = SamplingConfig()


def field_box() -> ComboBox:
    """Return the choice of the part of an image to segment."""
    return ComboBox(
        choices=(WHOLE, VISIBLE, TILES),
        label="Field",
        tooltip="The whole image, scaled to the model's canvas; only the part that the window "
        "shows, which becomes a separate layer; or a large image in overlapping tiles, written "
        "to disk.",
    )


def scale_box() -> FloatSpinBox:
    """Return the control of the scale of tiles."""
    return FloatSpinBox(
        value=TilingConfig().scale,
        min=0.01,
        max=1.0,
        step=0.01,
        label="Scale",
        tooltip="Pixels of the network's input per image pixel, along a side. Choose it so that "
        "an object is about as large in a tile (the model's canvas) as in the training images.",
    )


def results_edit() -> FileEdit:
    """Return the control of the folder for results in tiles."""
    return _folder_edit(
        "Results",
        "Folder for the maps, which get the name of the image. Nothing is overwritten.",
    )


def samples_slider() -> Slider:
    """Return the control of the number of samples, without a readout."""
    low, high = bounds("n_samples")
    # napari's theme leaves no room for the text of magicgui's own readout.
    return Slider(
        value=DEFAULTS.n_samples,
        min=low,
        max=min(high, SAMPLE_SLIDER_MAX),
        readout=False,
        tooltip="Number of plausible masks to draw. More samples make the mean and the confidence "
        "map steadier, and take longer.",
    )


def steps_box() -> SpinBox:
    """Return the control of the number of ODE steps."""
    return _setting(
        "steps",
        DEFAULTS.ode_steps,
        "ODE steps",
        "Steps of the ODE solver from noise to mask. More steps are more accurate and slower.",
    )


def solver_box() -> ComboBox:
    """Return the choice of an ODE solver."""
    return ComboBox(
        value=DEFAULTS.solver,
        choices=get_args(SolverName),
        label="Solver",
        tooltip="ODE solver. Euler evaluates the network once per step, midpoint and heun "
        "twice, rk4 four times.",
    )


def seed_box() -> SpinBox:
    """Return the control of the seed."""
    return _setting(
        "seed",
        DEFAULTS.seed,
        "Seed",
        "Equal seeds and settings give equal masks; sample n uses seed + n.",
    )


def confidence_box() -> ComboBox:
    """Return the choice of the kind of confidence."""
    return ComboBox(choices=(CALIBRATED, RAW), label="Confidence", tooltip=CONFIDENCE_TOOLTIP)


def device_box() -> ComboBox:
    """Return the choice of a device."""
    return ComboBox(
        value=DEFAULTS.device,
        choices=DEVICES,
        label="Device",
        tooltip="Device that runs the network; auto uses a GPU if there is one.",
    )


def run_buttons() -> tuple[PushButton, PushButton, PushButton]:
    """Return the buttons that run, cancel and unload the model."""
    run = PushButton(text="Run", tooltip="Draw the samples and show them as layers.")
    cancel = PushButton(
        text="Cancel", enabled=False, tooltip="Stop at once; the layers do not change."
    )
    unload = PushButton(
        text="Unload", tooltip="Release the memory of the model; the next run loads it again."
    )
    return run, cancel, unload


def progress_bar() -> ProgressBar:
    """Return the progress bar."""
    return ProgressBar(value=0, min=0, max=1, label="Progress", tooltip="Sampling steps done.")


def row(*widgets: Any, label: str = "") -> Container[Any]:
    """Return widgets side by side."""
    container = Container(widgets=widgets, layout="horizontal", labels=False, label=label)
    container.margins = (0, 0, 0, 0)
    return container


def text_line(label: str, tooltip: str, value: str = "") -> Label:
    """Return a text that wraps and can be selected."""
    line = Label(value=value, label=label, tooltip=tooltip or None)
    line.native.setTextFormat(Qt.TextFormat.PlainText)  # it names files
    line.native.setWordWrap(True)
    line.native.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    line.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return line


def _setting(name: str, value: int, label: str, tooltip: str) -> SpinBox:
    low, high = bounds(name)
    return SpinBox(value=value, min=low, max=high, label=label, tooltip=tooltip)


def _folder_edit(label: str, tooltip: str) -> FileEdit:
    edit = FileEdit(mode=FileDialogMode.EXISTING_DIRECTORY, label=label, tooltip=tooltip)
    edit.choose_btn.text = "Browse…"
    return edit
