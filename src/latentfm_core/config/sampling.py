"""Settings of sampling, prompts, correction and tiling."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from latentfm_core.config.base import Precision, Seed, Settings, SolverName

DEFAULT_STEPS = 4
"""K of a model whose card sets none."""


class SamplingConfig(Settings):
    """Settings for drawing samples from a trained model.

    Attributes
    ----------
    n_samples
        N, the number of plausible masks.
    steps
        K, ODE solver steps from t = 0 to t = 1; None uses the number on the model's card, or 4.
    solver
        ODE solver. Euler evaluates the network once per step, midpoint and heun twice, rk4 four
        times.
    seed
        Base seed; sample n uses seed + n.
    threshold
        Minimum mean probability of a pixel in the mean mask; None uses the model's fitted
        value, or 0.5.
    calibrated
        Apply the model's calibration, if any, to confidence and mean probability; otherwise
        they are raw.
    noise_scale
        Standard deviation of the initial noise, the temperature of Kingma and Dhariwal (Glow,
        NeurIPS 2018): above 1, samples vary more than the flow was trained to produce. None
        uses the model's fitted value, or 1.
    refine
        Without a prompt, draw each sample a second time in the extent that it found, at the
        image's own resolution. None: as the model card says, which is usually yes for a model
        that takes prompts.
    distilled
        Use the distilled network of a model that has one, if it serves so few Euler steps. False
        always uses the flow.
    batch_size
        Samples integrated at once; None is automatic. Affects speed and memory, not results.
    device
        Device of the network: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ... or ``"mps"``.
    precision
        Number format of the convolutions. ``"auto"`` is bf16 where the hardware supports it,
        else fp32; the samples of a seed differ between the two. Device and precision are fixed
        when a model is loaded: a `Segmenter` rejects any other precision.
    """

    n_samples: Annotated[int, Field(ge=1, le=1024)] = 8
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    solver: SolverName = "euler"
    seed: Seed = 0
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    calibrated: bool = True
    noise_scale: Annotated[float, Field(gt=0, le=4)] | None = None
    refine: bool | None = None
    distilled: bool = True
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    device: str = "auto"
    precision: Precision = "auto"

    @property
    def ode_steps(self) -> int:
        """K of a card, or of settings that were completed from one."""
        return self.steps or DEFAULT_STEPS


class PromptConfig(Settings):
    """Settings for the use of a prompt.

    Attributes
    ----------
    field_scale
        Side of the field around a box, in multiples of the box's longer side. The models were
        trained with 2.
    second_pass
        With points alone, use the extent of a quick first result as a box, and draw the samples
        in the field around it.
    first_samples, first_steps
        Samples and ODE steps of the first result.
    box_alignment
        Share of the way by which samples are stretched towards a box that touches its object; 0
        leaves them as drawn. A box with a gap on all sides has less effect, or none.
    """

    field_scale: Annotated[float, Field(ge=1.0, le=16.0)] = 2.0
    second_pass: bool = True
    first_samples: Annotated[int, Field(ge=1, le=64)] = 4
    first_steps: Annotated[int, Field(ge=1, le=100)] = 2
    box_alignment: Annotated[float, Field(ge=0.0, le=1.0)] = 0.4

    def first(self, settings: SamplingConfig) -> SamplingConfig:
        """Return the settings of the first result; `settings` are complete.

        It comes from the network that draws the samples: a model to which a distilled network was
        added gives the same samples as before with more steps than that serves.
        """
        steps = min(settings.ode_steps, self.first_steps)
        return settings.model_copy(
            update={
                "n_samples": min(settings.n_samples, self.first_samples),
                "steps": steps,
                "distilled": settings.distilled and steps == settings.ode_steps,
            }
        )


class CorrectionConfig(Settings):
    """Settings for guiding samples towards an annotator's strokes.

    Defaults chosen on validation images; see ``docs/benchmarks.md``.

    Attributes
    ----------
    steps
        Guided ODE steps. Always Euler steps, independent of the sampling solver.
    scale
        Maximum change of a latent in one step, in its standard deviations.
    """

    steps: Annotated[int, Field(ge=1, le=100)] = 4
    scale: Annotated[float, Field(gt=0, le=100)] = 2.0


class TilingConfig(Settings):
    """Settings for tiling an image larger than the model's canvas.

    Attributes
    ----------
    overlap
        Minimum overlap with the next tile, as a share of a tile's side.
    scale
        Network pixels per image pixel along a side: 0.25 first downscales the image by four.
        Objects should be about as large in a tile as in the model's training images.
    tile
        Side of a tile in pixels, a multiple of 32; None uses the model's canvas.
    memory_mb
        MiB for the samples being drawn; a wide image is processed in strips that fit.
    """

    overlap: Annotated[float, Field(ge=0.0, le=0.75)] = 0.5
    scale: Annotated[float, Field(ge=1 / 1024, le=1.0)] = 1.0
    tile: Annotated[int, Field(ge=64, le=4096, multiple_of=32)] | None = None
    memory_mb: Annotated[int, Field(ge=1, le=2**24)] = 512
