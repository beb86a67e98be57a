"""Data sets by name, for ``run-all``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """Location of a data set and its split, and its special settings.

    Attributes
    ----------
    folder
        Below the data folder; contains ``images`` and ``masks``.
    split
        File below ``configs/splits``.
    samples
        N.
    overrides
        LatentFM settings of its committed configuration that its images need.
    """

    folder: str
    split: str
    samples: int = 8
    overrides: tuple[str, ...] = ()


DATASETS = {
    "isic2018": Dataset("isic2018", "isic2018.json"),
    "cvc_clinicdb": Dataset("cvc_clinicdb", "cvc_clinicdb_sequence.json"),
    "cvc_clinicdb_random": Dataset("cvc_clinicdb", "cvc_clinicdb_random.json"),
    "lidc_idri": Dataset(
        "lidc_idri",
        "lidc_idri_patient.json",
        samples=16,
        # As configs/lidc_idri.toml: nodules of a few pixels need the finer latent, and Dice
        # on a one-step endpoint rewards one compromise outline.
        overrides=(
            "model.downsample=4",
            "training.flow.noise_draws=2",
            "training.flow.endpoint_weight=0.0",
        ),
    ),
}
