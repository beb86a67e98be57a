"""The loaded model of a background job, kept for the next run."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from latentfm_core.config import Precision, SamplingConfig
from latentfm_core.model_io.ensemble import model_files

if TYPE_CHECKING:
    from latentfm_core.inference.segmenter import Segmenter

Load = Callable[[str | Path, str, Precision], "Segmenter"]


def load_segmenter(source: str | Path, device: str, precision: Precision) -> Segmenter:
    """Load a model; the first call imports PyTorch.

    It also imports pandas, with which napari makes the table of each Labels layer: otherwise the
    GUI thread would be blocked by that for a quarter of a second when it shows the first result.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("pandas")
    from latentfm_core.inference.segmenter import Segmenter

    return Segmenter.load(source, device, precision)


class WarmModel:
    """Keeps the model of the last run, so that the next run starts at once."""

    def __init__(self) -> None:
        self._key: object = None
        self._segmenter: Segmenter | None = None

    def find(self, model: str | Path, settings: SamplingConfig) -> Segmenter | None:
        """Return the loaded model if it suits a model source, device and precision."""
        if self._segmenter is None or self._key != _key(model, settings):
            return None
        return self._segmenter if _computes_in(self._segmenter, settings.precision) else None

    def load(self, model: str | Path, settings: SamplingConfig, load: Load) -> Segmenter:
        """Replace the model by another one."""
        key = _key(model, settings)
        # Two models at once may not fit into the memory of a GPU.
        self._key = self._segmenter = None
        segmenter = load(model, settings.device, settings.precision)
        self._key, self._segmenter = key, segmenter
        return segmenter

    def drop(self) -> bool:
        """Release the model and its memory on the device; return whether there was one."""
        segmenter, self._key, self._segmenter = self._segmenter, None, None
        if segmenter is None:
            return False
        from latentfm_core.inference.device import release_memory

        device = segmenter.device
        del segmenter
        release_memory(device)
        return True


def _key(model: str | Path, settings: SamplingConfig) -> object:
    """Return what identifies a loaded model; it changes when the model folder is rewritten."""
    try:
        stamps = file_stamps(model_files(Path(model)))
    except OSError:
        # Loading the model reports what is wrong with the folder.
        stamps = []
    return (str(model), *stamps, settings.device)


def file_stamps(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return name, time of modification in ns and size in bytes of each file, 0 if unreadable."""
    stamps = []
    for file in files:
        try:
            stat = file.stat()
            stamps.append((file.name, stat.st_mtime_ns, stat.st_size))
        except OSError:
            stamps.append((file.name, 0, 0))
    return stamps


def _computes_in(segmenter: Segmenter, precision: Precision) -> bool:
    """Return whether a model has this precision; ``"auto"`` is resolved for its device."""
    from latentfm_core.inference.device import precision_of, resolve_precision

    return precision_of(resolve_precision(precision, segmenter.device)) == segmenter.precision
