"""How samples are drawn, corrected and tiled."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from latentfm_core.config.base import (
    Precision,
    Seed,
    Settings,
    SolverName,
)


class SamplingConfig(Settings):
    """How samples are drawn from a trained model.

    Attributes
    ----------
    n_samples
        N, the number of plausible masks.
    steps
        K, ODE solver steps from t = 0 to t = 1.
    solver
        ODE solver. Euler evaluates the network once per step, midpoint and heun twice, rk4 four
        times.
    seed
        Base seed; sample n uses seed + n.
    threshold
        Mean probability from which on a pixel belongs to the mean mask; None takes what was
        fitted to the model, or 0.5.
    calibrated
        Show confidence and mean probability as the model's calibration maps them, if it has
        one; else raw.
    noise_scale
        Standard deviation of the noise from which samples start, the temperature of Kingma and
        Dhariwal (Glow, NeurIPS 2018): above 1 they differ more from each other than those that
        the flow was trained to give. None takes what was fitted to the model, or 1.
    batch_size
        Samples integrated at once; None lets the segmenter choose. It changes speed and
        memory, not results.
    device
        Where the network runs: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ... or ``"mps"``.
    precision
        Number format of the convolutions. ``"auto"`` is bf16 where the hardware computes in it,
        else fp32; the samples of one seed differ between the two. Device and precision are
        chosen when a model is loaded: a `Segmenter` refuses another precision than its own.
    """

    n_samples: Annotated[int, Field(ge=1, le=1024)] = 8
    steps: Annotated[int, Field(ge=1, le=1000)] = 4
    solver: SolverName = "euler"
    seed: Seed = 0
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    calibrated: bool = True
    noise_scale: Annotated[float, Field(gt=0, le=4)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    device: str = "auto"
    precision: Precision = "auto"


class PromptConfig(Settings):
    """How a prompt chooses what the network sees.

    Attributes
    ----------
    field_scale
        Side of the field around a box, in longer sides of the box. 2 is what the models were
        trained around.
    second_pass
        After points alone, take the extent of a first, quick answer for a box, and draw the
        samples in the field around it.
    first_samples, first_steps
        Samples and ODE steps of that first answer.
    """

    field_scale: Annotated[float, Field(ge=1.0, le=16.0)] = 2.0
    second_pass: bool = True
    first_samples: Annotated[int, Field(ge=1, le=64)] = 4
    first_steps: Annotated[int, Field(ge=1, le=100)] = 2


class CorrectionConfig(Settings):
    """How samples are made to agree with an annotator's strokes.

    Chosen on validation images; ``docs/benchmarks.md`` tells how.

    Attributes
    ----------
    steps
        Guided ODE steps. They are Euler steps, whatever the solver of the sampling.
    scale
        Length of the largest move of a latent in one step, in its standard deviations.
    """

    steps: Annotated[int, Field(ge=1, le=100)] = 4
    scale: Annotated[float, Field(gt=0, le=100)] = 2.0


class TilingConfig(Settings):
    """How an image that is too large for the model's canvas is cut into tiles.

    Attributes
    ----------
    overlap
        Share of a tile's side, at least, that it has in common with the next one.
    scale
        Pixels that the network sees per image pixel, along a side: 0.25 makes the image four
        times smaller first. Objects should be about as large in a tile as they were in the
        images that the model was trained on.
    tile
        Side of a tile in pixels, a multiple of 32; None takes the model's canvas.
    memory_mb
        MiB for the samples under way; a wide image is worked through in strips that fit.
    """

    overlap: Annotated[float, Field(ge=0.0, le=0.75)] = 0.5
    scale: Annotated[float, Field(ge=1 / 1024, le=1.0)] = 1.0
    tile: Annotated[int, Field(ge=64, le=4096, multiple_of=32)] | None = None
    memory_mb: Annotated[int, Field(ge=1, le=2**24)] = 512
