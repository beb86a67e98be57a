"""A fine-tuning run that was stopped, and the images that it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.model_io.file_names import CARD

_FOLDER = "training"
_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class StoppedRun:
    """A run with a checkpoint and without a model.

    Attributes
    ----------
    images, masks
        Its folders; None if they are not known.
    """

    images: Path | None
    masks: Path | None

    def is_of(self, images: Path | None, masks: Path | None) -> bool:
        """Return whether it learns from these images and masks, as far as it is known."""
        pairs = ((self.images, images), (self.masks, masks))
        return all(own is None or (given and own == given.resolve()) for own, given in pairs)


def stopped_run(out: Path) -> StoppedRun | None:
    """Return the stopped run in a model folder, or None."""
    if not (out / _FOLDER / "checkpoint.safetensors").is_file() or (out / CARD).is_file():
        return None
    try:
        config = parse_json(read_bounded(out / _FOLDER / "config.json", _MAX_BYTES))
        images, masks = (config["data"][kind] for kind in ("images", "masks"))
    except (OSError, ValueError, TypeError, KeyError):
        return StoppedRun(None, None)
    known = (Path(path).resolve() if isinstance(path, str) else None for path in (images, masks))
    return StoppedRun(*known)
