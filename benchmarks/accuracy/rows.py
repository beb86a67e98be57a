"""Names of the rows and their networks."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.accuracy.baseline import Baseline
from benchmarks.accuracy.lite_unet import LiteUNet
from benchmarks.accuracy.settings import RunSettings
from latentfm_core.errors import ConfigError

PRESET_ROWS = ("default", "paper")
DETERMINISTIC_ROWS = ("basic_unet", "dynunet", "basic_unet_dropout", "dynunet_dropout")
ENCODER_ROW = "lite_unet"
ROWS = (
    *PRESET_ROWS,
    ENCODER_ROW,
    *DETERMINISTIC_ROWS,
    "prob_unet",
    "pixel_flow",
    "latent_diffusion",
)
CONFIGURED_ROWS = (*PRESET_ROWS, "latent_diffusion")
"""Rows that have a LatentFM configuration, which overrides change."""


def make_baseline(settings: RunSettings) -> Baseline:
    """Return the untrained network of a row that is not a preset.

    Raises
    ------
    ConfigError
        If there is no such row, it takes no overrides, or MONAI is missing.
    """
    if settings.overrides and settings.row not in CONFIGURED_ROWS:
        raise ConfigError(
            f"--set changes LatentFM settings, which the row {settings.row} does not have."
        )
    if settings.row == ENCODER_ROW:
        return LiteUNet(settings)
    try:
        factories = _factories()
    except ModuleNotFoundError as error:
        raise ConfigError(f'{error}. Install the comparison: pip install -e ".[bench]"') from None
    if settings.row not in factories:
        raise ConfigError(f"There is no row {settings.row!r}; choose one of {', '.join(ROWS)}.")
    return factories[settings.row](settings)


def _factories() -> dict[str, Callable[[RunSettings], Baseline]]:
    # Imported here, so that the LatentFM rows, evaluation and table work without MONAI.
    from benchmarks.accuracy.deterministic import make_deterministic
    from benchmarks.accuracy.latent_diffusion import LatentDiffusion
    from benchmarks.accuracy.pixel_flow import PixelFlow
    from benchmarks.accuracy.prob_unet import ProbUNet

    return {
        **dict.fromkeys(DETERMINISTIC_ROWS, make_deterministic),
        "prob_unet": ProbUNet,
        "pixel_flow": PixelFlow,
        "latent_diffusion": LatentDiffusion,
    }
