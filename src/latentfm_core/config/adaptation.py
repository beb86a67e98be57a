"""Settings of the adaptation of a promptable model to the accepted images of a work list."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from latentfm_core.config.base import Fraction, PositiveInt, Seed, Settings


class AdaptationConfig(Settings):
    """Settings of the adaptation to accepted images.

    Defaults chosen on tuning images of `benchmarks.effort`; see ``docs/adaptation.md``.

    Attributes
    ----------
    seconds
        Computing time per accepted image, on one core: testing both models, computing features
        and training.
    views
        Crops of each image whose features are kept. They differ in field, rotation, scale and
        colour, and replace augmentation during training.
    unprompted
        Share of the views of the whole image without a prompt.
    memory_mb
        MiB for features; with many images each keeps fewer views.
    batch_size, noise_draws
        Views per step, and pairs (t, z_0) per view.
    learning_rate
        Rate of AdamW.
    anchor
        Strength of the pull towards the original weights (L2-SP, Li et al., ICML 2018): each step
        moves every weight by the share ``learning_rate * anchor`` back.
    ema_decay
        Decay of the exponential moving average of the weights; the average is used for samples.
    window
        Most test results that decide whether the adapted model is used: the later half of all
        tests, since earlier ones are those of a model that had learned from fewer images.
    recent
        Test results that count for that decision in any case, if there are as many.
    fewest
        Minimum number of test results for that decision.
    margin
        Minimum mean gain in Dice.
    tolerance
        Maximum mean loss in Dice, with a prompt or without one.
    seed
        Seed of views, batches and noise.
    """

    seconds: Annotated[float, Field(gt=0, le=3600)] = 20.0
    views: Annotated[int, Field(ge=1, le=256)] = 48
    unprompted: Fraction = 0.5
    memory_mb: Annotated[int, Field(ge=1, le=2**20)] = 256
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    noise_draws: Annotated[int, Field(ge=1, le=64)] = 2
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    anchor: Annotated[float, Field(ge=0, le=1000)] = 1.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    window: PositiveInt = 20
    recent: PositiveInt = 8
    fewest: Annotated[int, Field(ge=2, le=1000)] = 4
    margin: Fraction = 0.01
    tolerance: Fraction = 0.01
    seed: Seed = 0


ADAPTATION = AdaptationConfig()
"""Defaults."""
