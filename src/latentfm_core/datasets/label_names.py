"""Compare the class names of a model with those that come with masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from latentfm_core.datasets.pairs import rater_folders
from latentfm_core.errors import ConfigError, DatasetError, ImageError
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.images.intensity import different_values
from latentfm_core.images.masks import read_numbers
from latentfm_core.images.read import list_images
from latentfm_core.names import matching, shown

FILE_NAME = "classes.json"
"""Label names of a work list, in the folder of its annotations."""
_MAX_BYTES = 1_000_000


def check_label_names(own: Sequence[str], labels: Mapping[int, str], source: Path) -> None:
    """Reject masks that give a class of a model another label than the model does.

    Classes with other names are accepted: they may be renamed.

    Parameters
    ----------
    own
        Classes of the model, from label 1 on; a single one applies to all labels.
    labels
        Names by label, as `source` gives them.

    Raises
    ------
    ConfigError
        If a class has another label; the message lists both.
    """
    places = matching(own, list(labels.values()))
    found = {at + 1: list(labels)[place] for at, place in enumerate(places) if place is not None}
    if len(own) > 1 and any(label != wanted for label, wanted in found.items()):
        raise ConfigError(
            f"{shown(source)} names the labels {_listed(labels)}; the model has "
            f"{_listed(dict(enumerate(own, start=1)))}. One class would be mistaken for another. "
            "Renumber the masks, or train a model with these names in the order of the labels: "
            "--init MODEL --set model.classes=NAME,NAME"
        )


def _listed(labels: Mapping[int, str]) -> str:
    return shown(", ".join(f"{label} {name}" for label, name in sorted(labels.items())))


def _labels_in(masks: Path) -> set[int]:
    """Return the labels in the masks of a folder that can be read."""
    found: set[int] = set()
    with suppress(DatasetError):
        for path in list_images(masks):
            with suppress(ImageError):
                found |= {int(label) for label in different_values(read_numbers(path))}
    return found - {0}


def check_masks_of_list(own: Sequence[str], *folders: Path | None) -> None:
    """Check the label names in folders of masks and of their raters, if a work list wrote them.

    For a model of one class the labels number its objects, unless they have different names.

    Raises `ConfigError` as `check_label_names` does, and if the model has too few classes.
    """
    for masks in filter(None, folders):
        for folder in (masks, *rater_folders(masks, masks)):
            _check_file(own, folder / FILE_NAME)


def _check_file(own: Sequence[str], file: Path) -> None:
    try:
        content = parse_json(read_bounded(file, _MAX_BYTES))
        names = content["names"] if content["kind"] == "classes" else {}
        labels = {int(label): str(name) for label, name in names.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return  # another file, or a damaged one, which the work list reports
    # Only other names can make several classes; the masks need not be read to see that.
    if len(own) == 1 and set(labels.values()) - set(own):
        used = {label: labels.get(label, own[0]) for label in sorted(_labels_in(file.parent))}
        if len(set(used.values())) > 1:
            raise ConfigError(
                f"The masks in {shown(file.parent)} have several classes: {_listed(used)}. The "
                f"model has one class, {shown(own[0])}, and would confuse them. Give these labels "
                "the same name, or choose a model with these classes."
            )
    check_label_names(own, labels, file)
