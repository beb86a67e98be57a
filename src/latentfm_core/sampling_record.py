"""Record of how samples were drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SamplingRecord:
    """Record of how samples were drawn; with the image, it suffices to draw them again.

    Sidecars, the attributes of Zarr results and the metadata of layers come from it.

    Attributes
    ----------
    model_id, model_hash
        Name of the model and SHA-256 of its weights.
    members
        The same of each model of an ensemble; empty for a single model.
    seeds
        Seed of each sample.
    nfe
        Evaluations of the velocity network per sample.
    settings
        Sampling settings as JSON values.
    classes
        Names of the foreground classes.
    seconds
        Wall time of the sampling.
    prompt
        The prompt that was given, as JSON values; empty without one.
    colours
        Colour of each class as ``"#rrggbb"``; empty if the model has none.
    calibration
        Digest of the model's calibration for the prompt (`Calibration.digest`); empty without
        one. `settings` say whether it applies.
    """

    model_id: str
    model_hash: str
    seeds: tuple[int, ...]
    nfe: int
    settings: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ("foreground",)
    seconds: float = 0.0
    prompt: dict[str, Any] = field(default_factory=dict)
    members: tuple[tuple[str, str], ...] = ()
    colours: tuple[str, ...] = ()
    calibration: str = ""

    def provenance(self) -> dict[str, Any]:
        """Return what sidecars and layers alike state, under the names in `Sidecar`."""
        return {
            "model_id": self.model_id,
            "model_sha256": self.model_hash,
            "members": [{"id": name, "sha256": digest} for name, digest in self.members],
            "seeds": list(self.seeds),
            "nfe": self.nfe,
            "prompt": self.prompt,
            "calibration_sha256": self.calibration,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {
            **self.provenance(),
            "classes": list(self.classes),
            "class_colours": list(self.colours),
            "settings": self.settings,
            "seconds": round(self.seconds, 3),
        }


def is_recorded(
    older: Mapping[str, Any], prompt: Mapping[str, Any], shape: tuple[int, int]
) -> bool:
    """Return whether a prompt is the recorded one of an image of `shape` ``(H, W)``.

    Digests that the older one lacks, from an earlier version, are not compared. A box is recorded
    as the image clips it.
    """
    given = {
        name: value
        for name, value in prompt.items()
        if name in older or not name.endswith("_digest")
    }
    if "box" in given:
        top, left, bottom, right = given["box"]
        given["box"] = [max(0, top), max(0, left), min(shape[0], bottom), min(shape[1], right)]
    return dict(older) == given


class Recorded:
    """Samples with a `SamplingRecord`, whose facts are also attributes of the samples."""

    record: SamplingRecord

    @property
    def model_id(self) -> str:
        """Name of the model."""
        return self.record.model_id

    @property
    def model_hash(self) -> str:
        """SHA-256 of the model's weights."""
        return self.record.model_hash

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of each sample."""
        return self.record.seeds

    @property
    def nfe(self) -> int:
        """Evaluations of the velocity network per sample."""
        return self.record.nfe

    @property
    def settings(self) -> dict[str, Any]:
        """Sampling settings as JSON values."""
        return self.record.settings

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the foreground classes."""
        return self.record.classes

    @property
    def colours(self) -> tuple[str, ...]:
        """Colour of each class; empty if the model has none."""
        return self.record.colours

    @property
    def prompt(self) -> dict[str, Any]:
        """The prompt as JSON values; empty without one."""
        return self.record.prompt

    @property
    def seconds(self) -> float:
        """Wall time of the sampling."""
        return self.record.seconds
