"""Settings of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from latentfm_core.config import PositiveInt, Precision, Seed, Settings
from latentfm_core.datasets.object_set import Kind

CLICKS = (1, 2, 3, 5, 10)
"""Numbers of clicks after which Dice is reported."""

TARGETS = {"85": 0.85, "90": 0.90}
"""Dice whose number of clicks (NoC) is reported, by the ending of the figure."""


class DataSettings(Settings):
    """Images to measure.

    Attributes
    ----------
    name
        Of the data set, in the table.
    images, masks
        Folders.
    split, part
        JSON file with the parts and the one that is measured; without a file all images are.
    kind
        ``"instances"`` where objects are numbered from 1.
    mask_threshold
        Grey level above which a mask pixel is foreground.
    group_file, group_column, group_key
        CSV file, its column of groups, and its column of image names.
    limit, subset_seed
        Most images; they are drawn at random with this seed.
    """

    name: str
    images: Path
    masks: Path
    split: Path | None = None
    part: Literal["train", "val", "test"] = "test"
    kind: Kind = "masks"
    mask_threshold: float | None = None
    group_file: Path | None = None
    group_column: str | None = None
    group_key: str = "image"
    limit: PositiveInt | None = None
    subset_seed: Seed = 2018

    def to_json(self) -> dict[str, Any]:
        """Return the settings without folders of this machine."""
        values = self.model_dump(mode="json", exclude={"images", "masks"})
        for key in ("split", "group_file"):
            path = getattr(self, key)
            values[key] = None if path is None else path.name
        return values


class MeasureSettings(Settings):
    """Sampling and counting settings.

    Attributes
    ----------
    samples, steps
        N and K of the answers whose mean mask is measured; None takes those of the model.
    hypotheses
        N of the answers whose best sample, GED and HM-IoU are measured.
    most_clicks
        Clicks after which a case that never reached a Dice counts as having needed this many.
    seeds
        Base seeds; every one repeats the run of the rows that sample.
    """

    samples: PositiveInt | None = None
    steps: PositiveInt | None = None
    hypotheses: PositiveInt = 16
    most_clicks: Annotated[int, Field(ge=max(CLICKS), le=100)] = 10
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    device: str = "auto"
    precision: Precision = "auto"
