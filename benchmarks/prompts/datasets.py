"""Data sets by name: folders, split, kind of masks, and the groups that belong together."""

from __future__ import annotations

from dataclasses import dataclass

from latentfm_core.datasets.object_set import Kind


@dataclass(frozen=True)
class Dataset:
    """Location of a data set and of its test part.

    Attributes
    ----------
    folder
        Below the data folder; holds ``images`` and ``masks``.
    split
        File below ``configs/splits`` whose test part is measured; None measures all images.
    kind
        ``"masks"``, or ``"instances"`` where objects are numbered.
    group_file, group_column, group_key
        CSV file below `folder` and its columns of groups and of image names.
    """

    folder: str
    split: str | None = None
    kind: Kind = "masks"
    group_file: str | None = None
    group_column: str | None = None
    group_key: str = "image"


DATASETS = {
    "isic2018": Dataset("isic2018", "isic2018.json"),
    "cvc_clinicdb": Dataset(
        "cvc_clinicdb",
        "cvc_clinicdb_sequence.json",
        group_file="sequences.csv",
        group_column="sequence",
    ),
    "lidc_idri": Dataset(
        "lidc_idri",
        "lidc_idri_patient.json",
        group_file="patients.csv",
        group_column="patient",
    ),
    "busi": Dataset("busi"),
    "polypgen": Dataset(
        "polypgen",
        "polypgen.json",
        group_file="groups.csv",
        group_column="near_cluster",
        group_key="file",
    ),
    "fuseg_wound": Dataset(
        "fuseg_wound",
        "fuseg_wound.json",
        group_file="groups.csv",
        group_column="near_cluster",
        group_key="file",
    ),
    "dsb2018_nuclei": Dataset("dsb2018_nuclei", "dsb2018_nuclei.json", kind="instances"),
    "chase_vessels": Dataset(
        "chase_vessels",
        "chase_vessels.json",
        group_file="groups.csv",
        group_column="child",
        group_key="file",
    ),
}
