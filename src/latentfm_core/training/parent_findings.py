"""Held-out images that the model a run starts from was trained on."""

from __future__ import annotations

from pathlib import Path

from latentfm_core.datasets.pair_reading import read_image_of
from latentfm_core.datasets.plausibility import Finding
from latentfm_core.errors import ImageError
from latentfm_core.images.signature import image_signature
from latentfm_core.model_io.bundled import bundled_models, is_bundled
from latentfm_core.names import counted, name_some, shown
from latentfm_core.training.run_state import RunState
from latentfm_core.training.trained_on import signatures_of


def parent_findings(run: RunState) -> list[Finding]:
    """Return a finding if validation or test images are training images of the parent model.

    Images are compared by their pixels. Of the test part only images with the name of a training
    image are read; the others are recognised when they are evaluated.
    """
    init, val = run.record.init, run.data.val
    if not init or (val is None and not run.data.split.test):
        return []
    if not run.parent_images:
        bundled = init in bundled_models() or is_bundled(Path(init))
        if bundled or run.checkpoint is not None:
            return []
        return [
            Finding(
                f"It is not known which images the model {shown(init)} was trained on, because "
                "its folder has no training/images.json. If some of them are in the validation or "
                "test part, the scores of that part will be too optimistic."
            )
        ]
    found = {} if val is None else signatures_of(val)
    seen = {
        "validation": [name for name, own in found.items() if own in run.parent_images],
        "test": _seen_of_test(run),
    }
    sizes = {"validation": len(found), "test": len(run.data.split.test)}
    parts = [
        f"{len(names)} of {counted(sizes[part], f'{part} image')} ({name_some(names)})"
        for part, names in seen.items()
        if names
    ]
    if not parts:
        return []
    advice = "Move these images to the training part (--split), or start from another model."
    if run.config.data.fold is not None:  # folds are drawn from both parts
        advice = "Start from another model."
    return [
        Finding(
            f"The model {shown(init)}, from which this run starts, was trained on "
            f"{' and '.join(parts)}. Their scores will be too optimistic. {advice}"
        )
    ]


def _seen_of_test(run: RunState) -> list[str]:
    known = {_plain(name) for name in run.parent_images.values()}
    alike = [name for name in run.data.split.test if _plain(name) in known]
    return [name for name in alike if _signature(run, name) in run.parent_images]


def _plain(name: str) -> str:
    """Return the name of an image without that of its data set."""
    return name.rpartition("__")[2]


def _signature(run: RunState, name: str) -> str:
    try:
        image, _ = read_image_of(run.data.pairs[name], run.config.data.reading)
    except ImageError:
        return ""  # a later evaluation reports it
    return image_signature(image.pixels)
