"""Settings of training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from latentfm_core.config.base import Precision, Seed, Settings

Epochs = Annotated[int, Field(ge=0, le=1_000_000)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class StageConfig(Settings):
    """Optimisation of one training stage.

    Attributes
    ----------
    epochs
        Passes over the training images; 0 leaves the stage at its initial weights.
    batch_size
        Images per step.
    learning_rate
        Peak rate of AdamW; warmed up linearly, then annealed by a cosine if `cosine`.
    weight_decay
        Decay of AdamW; biases and scales are excluded.
    warmup_steps
        Steps over which the learning rate rises, at most a twentieth of the stage.
    cosine
        Whether the learning rate is annealed.
    size
        Side of the training images in this stage; None uses ``data.size``.
    max_seconds
        Time budget of the stage: it ends, with its learning rate annealed, when either the
        epochs or the time are used up. A run with a budget depends on the machine's speed and
        is not exactly reproducible.
    """

    epochs: Epochs = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 16
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 3e-4
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 0.01
    warmup_steps: Annotated[int, Field(ge=0, le=10_000_000)] = 200
    cosine: bool = True
    size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] | None = None
    max_seconds: Annotated[float, Field(gt=0, le=1e9)] | None = None


class FlowConfig(StageConfig):
    """Optimisation of the flow, and its losses besides the velocity objective.

    Attributes
    ----------
    small_epochs, small_size
        The first `small_epochs` epochs (under a time budget: the share
        ``small_epochs / epochs`` of it) run on images of side `small_size`, since the
        networks are convolutional: half the side is a quarter of the work per image.
    noise_draws
        Pairs (t, z_0) per image and step. They share image features; each costs about a sixth of
        these, and more images learn faster than more draws (docs/benchmarks.md).
    time_sampling
        ``"uniform"``, as in the paper, or ``"logit_normal"``.
    endpoint_weight
        Weight of BCE + Dice on the decoded one-step endpoint z_t + (1 - t) v. The time it takes is
        better spent on more steps (docs/benchmarks.md).
    auxiliary_weight
        Weight of BCE + Dice on a mask predicted directly from the trained condition features.
    encoder_rate
        Learning rate of a pretrained encoder, relative to `learning_rate`.
    encoder_frozen
        Frozen stages of a pretrained encoder, from the finest (of 7). They account for most of
        the gradient cost and contain generic edge and colour features.
    ema_decay
        Decay of the exponential moving average of the weights; 0 disables it.
    validate_every
        Epochs between validations.
    patience
        The stage ends after this many consecutive validations without a new best; None disables
        early stopping. The learning rate is then not fully annealed.
    """

    small_epochs: Epochs = 0
    small_size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = 128
    noise_draws: Annotated[int, Field(ge=1, le=1024)] = 1
    time_sampling: Literal["uniform", "logit_normal"] = "uniform"
    endpoint_weight: Weight = 0.0
    auxiliary_weight: Weight = 1.0
    encoder_rate: Annotated[float, Field(gt=0, le=1)] = 0.2
    encoder_frozen: Annotated[int, Field(ge=0, le=7)] = 0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    validate_every: Annotated[int, Field(ge=1, le=1_000_000)] = 2
    patience: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class DistillConfig(StageConfig):
    """Optimisation of the few-step network, distilled from the trained flow.

    Attributes
    ----------
    small_epochs, small_size, noise_draws, ema_decay
        As in `FlowConfig`.
    teacher_steps
        Midpoint steps of the flow within each distilled step.
    """

    small_epochs: Epochs = 0
    small_size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = 128
    noise_draws: Annotated[int, Field(ge=1, le=1024)] = 2
    teacher_steps: Annotated[int, Field(ge=1, le=1000)] = 6
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99


class TrainingConfig(Settings):
    """Stages and their shared settings.

    Attributes
    ----------
    kl_weight
        beta of both VAEs, per latent element.
    augmentation
        ``"none"``, ``"flips"`` (flips and quarter turns) or ``"strong"`` (rotation, scale,
        aspect, shift, colour, blur, noise).
    image_vae, mask_vae, flow, distill
        The stages.
    gradient_clip
        Maximum gradient norm; larger gradients are scaled down.
    seed
        Seed of initial weights, image order, augmentation and noise.
    device
        Device, as in `SamplingConfig`.
    precision
        Number format of the convolutions, as in `SamplingConfig`.
    validation_samples, validation_steps, validation_images
        Samples, ODE steps and images of each validation in the flow stage.
    minutes
        Time budget of the whole run, divided among the stages without their own
        (`max_seconds`); limits that exceed it together are shortened. The run ends earlier if the
        epochs do. Includes validation, excludes reading the images.
    checkpoint_minutes, checkpoint_steps
        Write a checkpoint after this many minutes, and after this many steps of a stage if
        `checkpoint_steps` is not None.
    """

    image_vae: StageConfig = StageConfig(epochs=4, learning_rate=5e-4, size=128)
    mask_vae: StageConfig = StageConfig(epochs=12, learning_rate=1e-3)
    flow: FlowConfig = FlowConfig(epochs=60, learning_rate=1e-3)
    distill: DistillConfig = DistillConfig(epochs=0, learning_rate=5e-4)
    kl_weight: Weight = 1e-4
    augmentation: Literal["none", "flips", "strong"] = "strong"
    gradient_clip: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    seed: Seed = 0
    device: str = "auto"
    precision: Precision = "auto"
    validation_samples: Annotated[int, Field(ge=1, le=1024)] = 4
    validation_steps: Annotated[int, Field(ge=1, le=1000)] = 4
    validation_images: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    checkpoint_minutes: Annotated[float, Field(gt=0, le=100_000)] = 5.0
    checkpoint_steps: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    minutes: Annotated[float, Field(gt=0, le=1e7)] | None = None
