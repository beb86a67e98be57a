"""Settings for reading files and for training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from latentfm_core.config.base import Fraction, Seed, Settings


class ReadingConfig(Settings):
    """Limits for untrusted files.

    Attributes
    ----------
    max_megapixels
        Maximum pixels of one image or mask, in 2**20; checked in the header before decoding.
    max_megabytes
        Maximum decoded size of one file (all channels, or a whole stack of labels) in 2**20
        bytes; None allows 8 bytes for each pixel of `max_megapixels`.
    follow_links
        Follow symbolic links that lead out of a folder.
    channel
        Channel to read from every file with several channels, colours included, counted from 1.
        None reads colours and rejects other channels.
    mask_channel
        The same for masks; None uses `channel`.
    keep_numbers
        Read the values of masks as numbers of classes or objects even if they look like smoothed
        edges.
    """

    max_megapixels: Annotated[float, Field(gt=0, le=2**20)] = 256
    max_megabytes: Annotated[float, Field(gt=0, le=2**24)] | None = None
    follow_links: bool = False
    channel: Annotated[int, Field(ge=1, le=1000)] | None = None
    mask_channel: Annotated[int, Field(ge=1, le=1000)] | None = None
    keep_numbers: bool = False

    @property
    def for_masks(self) -> ReadingConfig:
        """The same with the channel of masks as `channel`."""
        return self.model_copy(update={"channel": self.mask_channel or self.channel})

    @property
    def max_pixels(self) -> int:
        """`max_megapixels` in pixels."""
        return int(self.max_megapixels * 2**20)

    @property
    def max_bytes(self) -> int:
        """Maximum decoded size in bytes."""
        megabytes = self.max_megabytes
        return self.max_pixels * 8 if megabytes is None else int(megabytes * 2**20)


READING = ReadingConfig()
"""Default limits."""


class SetConfig(Settings):
    """One of several data sets for training one model.

    Attributes
    ----------
    name
        Short name, unique among the sets; prefixes the names of its images.
    images, masks
        As in `DataConfig`.
    kind
        ``"masks"``: as for a single data set, foreground or classes. ``"instances"``: objects
        are numbered from 1; a prompt selects one of them, and without a prompt, or for a model
        without prompts, all are foreground.
    weight
        Sampling weight relative to the other sets; None uses the square root of its number of
        training images.
    split_file, group_file, group_column, mask_threshold
        As in `DataConfig`.
    """

    name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9_.-]+$")]
    images: Path
    masks: Path
    kind: Literal["masks", "instances"] = "masks"
    weight: Annotated[float, Field(ge=1e-6, le=1e6)] | None = None
    split_file: Path | None = None
    group_file: Path | None = None
    group_column: str | None = None
    mask_threshold: float | None = None


class DataConfig(Settings):
    """Location, split and preprocessing of the training data.

    Attributes
    ----------
    images, masks
        Folders; an image and its mask share the file name without its extension. Masks of
        several raters are in subfolders of `masks`, one per rater.
    folder
        Alternatively, a folder in nnU-Net's raw layout or that of the ISIC challenge.
    sets
        Alternatively, several data sets.
    size
        Side in pixels of the square model input; a multiple of 32.
    resolution
        Maximum long side in pixels of the training images of a model with prompts, from which
        fields around small objects are cut. Larger images are downscaled.
    unprompted
        Share of the training images of a model with prompts that are shown in full and without
        a prompt. A model for one kind of image, mostly used without prompts, gains from more.
    fit
        ``"pad"`` keeps the aspect ratio (long side = `size`, edge pixels fill the rest),
        ``"stretch"`` ignores it, as in the paper.
    split_file
        JSON file with the lists ``train``, ``val`` and ``test`` of image names. Overrides
        the fractions below.
    val_fraction, test_fraction
        Shares held out without a split file.
    group_file, group_column
        CSV file with a column ``image`` and a column with the group (video sequence, patient);
        all images of a group go to the same part.
    split_seed
        Seed of the random split, and of the folds.
    folds
        Number of folds of a cross-validation; None trains a single model. Each fold is the
        validation part of one model, in place of `val_fraction`. The test part is that of the
        split file or of `test_fraction`, and in no fold.
    fold
        The fold to train, counted from 0; None trains all of them, one after the other.
    mask_threshold
        Grey level above which a mask pixel is foreground. None accepts binary masks only.
    rare_class
        Share of the training images below which a class is rare. Images that contain a rare class
        are drawn more often, by the factor sqrt(rare_class / share of the class); 0 draws all
        images equally often.
    skip_bad
        Skip unreadable files instead of stopping.
    skip_unmasked
        Skip images without a mask instead of stopping, for partly annotated folders.
    cache
        Folder for caching decoded images and masks between runs; None caches none. It contains
        copies: choose a location as private as the images.
    reading
        Limits for the files.
    """

    images: Path | None = None
    masks: Path | None = None
    folder: Path | None = None
    sets: tuple[SetConfig, ...] = ()
    size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = 256
    resolution: Annotated[int, Field(ge=64, le=8192)] = 512
    unprompted: Annotated[float, Field(ge=0, le=1)] = 0.3
    fit: Literal["pad", "stretch"] = "pad"
    split_file: Path | None = None
    val_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.1
    group_file: Path | None = None
    group_column: str | None = None
    split_seed: Seed = 0
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    fold: Annotated[int, Field(ge=0, le=99)] | None = None
    mask_threshold: float | None = None
    rare_class: Fraction = 0.5
    skip_bad: bool = False
    skip_unmasked: bool = False
    cache: Path | None = None
    reading: ReadingConfig = READING

    @model_validator(mode="after")
    def _check_split(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError("val_fraction + test_fraction must be below 1")
        if self.folder is not None and (self.images is not None or self.masks is not None):
            raise ValueError("folder replaces images and masks: set only one of them")
        if self.sets and (self.folder is not None or self.images is not None):
            raise ValueError("sets replaces images, masks and folder: set only one of them")
        if len({one.name for one in self.sets}) != len(self.sets):
            raise ValueError("each of the sets needs a unique name")
        if (self.group_file is None) != (self.group_column is None):
            raise ValueError("group_file and group_column belong together: set both or neither")
        if self.fold is not None and self.folds is None:
            raise ValueError("fold needs folds, the number of folds: set both")
        if self.fold is not None and self.folds is not None and self.fold >= self.folds:
            raise ValueError(
                f"folds are counted from 0, so that fold (--fold) is at most {self.folds - 1}"
            )
        return self
