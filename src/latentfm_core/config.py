"""Settings: one frozen, validated object shared by the command line, the API and the plugin.

Every default of the project stands in this file and nowhere else. A configuration is read
from TOML (`load_config`), from a preset (`preset`) or built in Python, may be changed with
dotted overrides (`with_overrides`), and is stored as JSON in checkpoints and model cards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from latentfm_core.errors import ConfigError
from latentfm_core.store.bounded import MAX_TOML_BYTES, parse_json, parse_toml, read_bounded

SolverName = Literal["euler", "midpoint", "heun", "rk4"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1)]
Blocks = Annotated[int, Field(ge=1, le=64)]
Width = Annotated[int, Field(ge=8, le=4096, multiple_of=8)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
ClassName = Annotated[str, Field(min_length=1, max_length=60)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]

LATENT_DOWNSAMPLE = (4, 8)
"""Latent down-sampling factors f for which the VAEs are defined."""

DEFAULT_MODEL = "isic2018"
"""Bundled model that is taken, or offered first, where none is named."""


def default_first(models: Iterable[str]) -> list[str]:
    """Return names of models sorted, but `DEFAULT_MODEL` first."""
    return sorted(models, key=lambda name: (name != DEFAULT_MODEL, name))


SAMPLE_SLIDER_MAX = 64
"""Most samples that the plugin's slider offers; the command line and Python take more."""


class Settings(BaseModel):
    """Frozen base: unknown keys are errors, so that a misspelt setting is never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ReadingConfig(Settings):
    """What is accepted of files that may come from strangers.

    Attributes
    ----------
    max_megapixels
        Most pixels of one image or mask, in 2**20; the header tells them before anything is
        decoded.
    max_megabytes
        Largest decoded size of one file (of all channels, or of a whole stack of labels) in
        2**20 bytes; None allows 8 bytes for each pixel of `max_megapixels`.
    follow_links
        Take symbolic links in a folder that lead out of it.
    """

    max_megapixels: Annotated[float, Field(gt=0, le=2**20)] = 256
    max_megabytes: Annotated[float, Field(gt=0, le=2**24)] | None = None
    follow_links: bool = False

    @property
    def max_pixels(self) -> int:
        """`max_megapixels` in pixels."""
        return int(self.max_megapixels * 2**20)

    @property
    def max_bytes(self) -> int:
        """Largest decoded size in bytes."""
        megabytes = self.max_megabytes
        return self.max_pixels * 8 if megabytes is None else int(megabytes * 2**20)


READING = ReadingConfig()
"""The usual limits."""


class DataConfig(Settings):
    """Where the training data lies, how it is split and how pixels reach the network.

    Attributes
    ----------
    images, masks
        Folders; an image and its mask share the file name without its extension. Masks of
        several raters lie in subfolders of `masks`, one for each rater.
    folder
        Instead of these, a folder in nnU-Net's raw layout or that of the ISIC challenge.
    size
        Side in pixels of the square model input; a multiple of 32.
    fit
        ``"pad"`` keeps the aspect (long side = `size`, edge pixels fill the rest),
        ``"stretch"`` ignores it, as the paper does.
    split_file
        JSON file with the lists ``train``, ``val`` and ``test`` of image names. Wins over
        the fractions below.
    val_fraction, test_fraction
        Shares held out when there is no split file.
    group_file, group_column
        CSV file with a column ``image`` and a column that names the group (video sequence,
        patient); all images of one group go to the same part.
    split_seed
        Seed of the random split.
    mask_threshold
        Grey level above which a mask pixel is foreground. None accepts binary masks only.
    skip_bad
        Go on without unreadable files instead of stopping.
    skip_unmasked
        Leave images without a mask out instead of stopping, as in a folder that is only
        partly annotated.
    cache
        Folder that keeps decoded images and masks between runs; None keeps none. They are
        copies: choose a place that is as private as the images are.
    reading
        Limits for the files.
    """

    images: Path | None = None
    masks: Path | None = None
    folder: Path | None = None
    size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = 256
    fit: Literal["pad", "stretch"] = "pad"
    split_file: Path | None = None
    val_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.1
    group_file: Path | None = None
    group_column: str | None = None
    split_seed: Seed = 0
    mask_threshold: float | None = None
    skip_bad: bool = False
    skip_unmasked: bool = False
    cache: Path | None = None
    reading: ReadingConfig = READING

    @model_validator(mode="after")
    def _check_split(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError("val_fraction + test_fraction must be below 1")
        if self.folder is not None and (self.images is not None or self.masks is not None):
            raise ValueError("folder takes the place of images and masks: give either")
        if (self.group_file is None) != (self.group_column is None):
            raise ValueError("group_file and group_column belong together: give both or none")
        return self


class ModelConfig(Settings):
    """Sizes of the networks.

    Attributes
    ----------
    classes
        Names of the foreground classes: the value k of a mask is ``classes[k - 1]``, 0 is
        background. With one class, masks are binary.
    latent_channels
        c of the mask (and image) latent.
    downsample
        f: the latent is `size / f` on a side.
    vae_width
        Channels of the VAEs at their finest stage.
    mask_patch
        Side of the pixel-unshuffle patch at the mask VAE's ends (1 = plain convolutions).
    condition
        ``"frozen"`` feeds the velocity network with the frozen image-VAE latent, as the
        paper does; ``"multiscale"`` trains an encoder with features at several scales
        together with the flow.
    condition_widths
        Channels of that encoder at strides 4, 8, 16 and 32.
    condition_blocks
        Residual blocks of that encoder at the same strides.
    velocity_widths
        Channels of the velocity U-Net, one level each; level 0 has the latent's resolution.
    velocity_blocks
        Residual blocks per level on the way down.
    dropout
        Dropout rate inside the residual blocks of the trained condition encoder.
    distilled_steps
        Runs of at most this many Euler steps are served by a second velocity network, which
        has learned to take steps of that length at once (stage ``distill``); 0 is without.
    """

    classes: Annotated[tuple[ClassName, ...], Field(min_length=1, max_length=32)] = ("lesion",)
    latent_channels: Annotated[int, Field(ge=1, le=32)] = 4
    downsample: Literal[4, 8] = 8
    vae_width: Annotated[int, Field(ge=8, le=256, multiple_of=8)] = 32
    mask_patch: Literal[1, 2, 4] = 4
    condition: Literal["frozen", "multiscale"] = "multiscale"
    condition_widths: tuple[Width, Width, Width, Width] = (48, 96, 192, 256)
    condition_blocks: tuple[Blocks, Blocks, Blocks, Blocks] = (1, 2, 2, 2)
    velocity_widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (48, 96, 192)
    velocity_blocks: Blocks = 1
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    distilled_steps: Annotated[int, Field(ge=0, le=8)] = 0

    @model_validator(mode="after")
    def _check_patch(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must have different names")
        if self.mask_patch > self.downsample:
            raise ValueError("mask_patch must not exceed downsample")
        return self

    @property
    def mask_channels(self) -> int:
        """Channels of the mask VAE: 1 for binary masks, else one-hot with background first."""
        return 1 if len(self.classes) == 1 else len(self.classes) + 1


class StageConfig(Settings):
    """Optimisation of one training stage.

    Attributes
    ----------
    epochs
        Passes over the training images; 0 leaves the stage at its initial weights.
    learning_rate
        Peak rate of AdamW; warmed up linearly, then annealed by a cosine if `cosine`.
    size
        Side of the training images in this stage; None takes ``data.size``.
    max_seconds
        Time budget of the stage: it ends, with its learning rate annealed, when either
        the epochs or the time are used up. A run with a budget depends on the machine's
        speed and therefore cannot be repeated exactly.
    """

    epochs: Annotated[int, Field(ge=0)] = 10
    batch_size: PositiveInt = 16
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    cosine: bool = True
    size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] | None = None
    max_seconds: Annotated[float, Field(gt=0)] | None = None


class FlowConfig(StageConfig):
    """Optimisation of the flow, and what it adds to the velocity objective.

    Attributes
    ----------
    small_epochs, small_size
        The first `small_epochs` epochs (under a time budget: the share
        ``small_epochs / epochs`` of it) run on images of side `small_size`: a quarter of
        the work per image at half the side, and the networks are convolutional.
    noise_draws
        Pairs (t, z_0) per image and step; the image features are shared, so that a further
        draw is cheap.
    time_sampling
        ``"uniform"`` as in the paper, or ``"logit_normal"``.
    endpoint_weight
        Weight of BCE + Dice on the decoded one-step endpoint z_t + (1 - t) v.
    auxiliary_weight
        Weight of BCE + Dice on a mask read straight off the trained condition features.
    ema_decay
        Decay of the exponential moving average of the weights; 0 turns it off.
    validate_every
        Epochs between validations.
    """

    small_epochs: Annotated[int, Field(ge=0)] = 0
    small_size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = 128
    noise_draws: PositiveInt = 4
    time_sampling: Literal["uniform", "logit_normal"] = "uniform"
    endpoint_weight: Annotated[float, Field(ge=0)] = 0.2
    auxiliary_weight: Annotated[float, Field(ge=0)] = 0.5
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    validate_every: PositiveInt = 2


class DistillConfig(StageConfig):
    """Optimisation of the network for few steps, which learns from the trained flow.

    Attributes
    ----------
    small_epochs, small_size, noise_draws, ema_decay
        As in `FlowConfig`.
    teacher_steps
        Midpoint steps of the flow within each step that is to be learned.
    """

    small_epochs: Annotated[int, Field(ge=0)] = 0
    small_size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = 128
    noise_draws: PositiveInt = 2
    teacher_steps: PositiveInt = 6
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99


class TrainingConfig(Settings):
    """The stages, and what they share.

    Attributes
    ----------
    kl_weight
        beta of both VAEs, per latent element.
    augmentation
        ``"none"``, ``"flips"`` (flips and quarter turns) or ``"strong"`` (rotation, scale,
        aspect, shift, colour, blur, noise).
    validation_samples, validation_steps, validation_images
        Samples, ODE steps and number of images used by each validation in the flow stage.
    """

    image_vae: StageConfig = StageConfig(epochs=4, learning_rate=5e-4, size=128)
    mask_vae: StageConfig = StageConfig(epochs=12, learning_rate=1e-3)
    flow: FlowConfig = FlowConfig(epochs=60, learning_rate=5e-4)
    distill: DistillConfig = DistillConfig(epochs=0, learning_rate=5e-4)
    kl_weight: Annotated[float, Field(ge=0)] = 1e-4
    augmentation: Literal["none", "flips", "strong"] = "strong"
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    seed: Seed = 0
    device: str = "auto"
    precision: Precision = "auto"
    validation_samples: PositiveInt = 4
    validation_steps: PositiveInt = 4
    validation_images: PositiveInt = 64
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5.0


class SamplingConfig(Settings):
    """How samples are drawn from a trained model.

    Attributes
    ----------
    n_samples
        N, the number of plausible masks.
    steps
        K, ODE solver steps from t = 0 to t = 1.
    seed
        Base seed; sample n uses seed + n.
    threshold
        Mean probability from which on a pixel belongs to the mean mask; None takes what was
        fitted to the model, or 0.5.
    calibrated
        Show confidence and mean probability as the model's calibration maps them, if it has
        one; else raw.
    batch_size
        Samples integrated at once; None lets the segmenter choose. It changes speed and
        memory, not results.
    """

    n_samples: Annotated[int, Field(ge=1, le=1024)] = 8
    steps: Annotated[int, Field(ge=1, le=1000)] = 4
    solver: SolverName = "euler"
    seed: Seed = 0
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    calibrated: bool = True
    batch_size: PositiveInt | None = None
    device: str = "auto"
    precision: Precision = "auto"


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
    memory_mb: Annotated[int, Field(ge=1)] = 512


class Config(Settings):
    """All settings of a training run and of the model that it makes."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = SamplingConfig()

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        multiple = 32 if self.model.condition == "multiscale" else self.model.downsample * 4
        if self.data.size % multiple:
            raise ValueError(f"data.size must be a multiple of {multiple} for this model")
        # Without its stage the network for few steps would answer noise, or, after the flow was
        # trained on, answer what an older flow said.
        if bool(self.model.distilled_steps) != bool(self.training.distill.epochs):
            raise ValueError(
                "model.distilled_steps and training.distill.epochs belong together: "
                "set both, or both to 0"
            )
        halvings = len(self.model.velocity_widths) - 1
        if self.data.size // self.model.downsample % 2**halvings:
            raise ValueError(
                f"data.size / model.downsample must be a multiple of {2**halvings}, so that every "
                "level of model.velocity_widths halves the latent"
            )
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return self.model_dump(mode="json")


PRESETS = ("default", "paper", "finetune", "distill")


_MOST_SHOWN = 10


def _explain(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [
        f"{'.'.join(str(part) for part in item['loc'])[:200] or 'settings'}: {item['msg'][:400]}"
        for item in found[:_MOST_SHOWN]
    ]
    if len(found) > _MOST_SHOWN:
        lines.append(f"and {len(found) - _MOST_SHOWN} more")
    return "These settings cannot be used:\n  " + "\n  ".join(lines)


def config_from_mapping(values: Mapping[str, Any]) -> Config:
    """Validate nested plain values.

    Raises
    ------
    ConfigError
        If a key is unknown or a value is out of range; the message names each one.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _preset_values(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise ConfigError(f"There is no preset {name[:60]!r}; choose one of {', '.join(PRESETS)}.")
    text = resources.files("latentfm_core").joinpath(f"presets/{name}.toml").read_text("utf-8")
    return parse_toml(text)


def preset(name: str) -> Config:
    """Return a named preset, one of `PRESETS`."""
    return config_from_mapping(_preset_values(name))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of at most 256 kB.

    Raises
    ------
    ConfigError
        If it cannot be read or is not TOML.
    """
    try:
        return parse_toml(read_bounded(path, MAX_TOML_BYTES))
    except UnicodeDecodeError as error:
        raise ConfigError(f"Cannot read the settings {path}: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}. Mend that line.") from None
    except OSError as error:
        raise ConfigError(f"Cannot read the settings {path}: {error}") from None


def load_config(path: Path) -> Config:
    """Read a TOML file; its optional top-level key ``preset`` names what it starts from.

    Relative paths of the ``data`` table are taken from the folder of the file, so that a
    configuration means the same wherever the command is started.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, or holds unknown or invalid settings.
    """
    values = read_toml(path)
    base = _preset_values(str(values.pop("preset", "default")))
    data = values.get("data")
    if isinstance(data, dict):
        for key in ("images", "masks", "folder", "split_file", "group_file", "cache"):
            if isinstance(data.get(key), str):
                data[key] = _resolved(path.parent, data[key])
    return config_from_mapping(_merge(base, values))


def _resolved(folder: Path, text: str) -> str:
    try:
        return str((folder / text).resolve())
    except (OSError, ValueError, RuntimeError):
        raise ConfigError(f"{text[:200]!r} is no path of a file.") from None


def with_overrides(config: Config, overrides: Sequence[str]) -> Config:
    """Apply ``section.key=value`` strings, the form of the command line.

    Values are read as JSON where they can be, else taken as text.
    """
    values: dict[str, Any] = config.to_json()
    for item in overrides:
        key, equals, raw = item.partition("=")
        if not equals:
            raise ConfigError(f"{item!r} is no setting; write it as section.key=value.")
        try:
            value: Any = parse_json(raw)
        except ValueError:
            value = raw
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        values = _merge(values, value)
    return config_from_mapping(values)


def sampling_settings(base: SamplingConfig | None = None, **changes: object) -> SamplingConfig:
    """Return validated sampling settings: `base` (or the defaults) with `changes`.

    Raises
    ------
    ConfigError
        If a name is unknown or a value is out of range.
    """
    values = (base or SamplingConfig()).model_dump() | changes
    try:
        return SamplingConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def reading_settings(changes: Mapping[str, object]) -> ReadingConfig:
    """Return validated limits for files: the usual ones with `changes`.

    Raises
    ------
    ConfigError
        If a name is unknown or a value is out of range.
    """
    try:
        return ReadingConfig.model_validate(dict(changes))
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def tiling_settings(**changes: object) -> TilingConfig:
    """Return validated tiling settings: the defaults with `changes`.

    Raises
    ------
    ConfigError
        If a name is unknown or a value is out of range.
    """
    try:
        return TilingConfig.model_validate(changes)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
