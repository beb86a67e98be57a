"""Selection of images by the model's own split, and warnings about its training images."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Mapping, Sequence

from latentfm_core.cli.model_split import ModelSplit
from latentfm_core.config import ReadingConfig
from latentfm_core.datasets.pair_reading import read_image_of
from latentfm_core.datasets.pairs import Pair, name_some
from latentfm_core.datasets.splits import Split
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.errors import DatasetError, ImageError
from latentfm_core.evaluation.evaluate import Draw, unprompted
from latentfm_core.evaluation.out_of_fold import OutOfFold
from latentfm_core.images.signature import image_signature
from latentfm_core.model_io.bundled import bundled_models

logger = logging.getLogger(__name__)

ALL = "all"
"""Value of ``--part`` for all images, including those the model was trained on."""


_COMPARED = 5
"""Images whose pixels are compared with those of the training."""


def known_by_name(
    model: ModelSplit | None, pairs: Sequence[Pair], limits: ReadingConfig
) -> ModelSplit | None:
    """Return the record of the model's images, without names if `pairs` are other images.

    That is the case if some have the names of training images, but none of those compared has the
    pixels of one.
    """
    if model is None:
        return None
    known = set(model.signatures.values())
    alike = [pair for pair in pairs if model.recorded(pair.name) in known]
    compared = 0
    for pair in alike[:: max(1, len(alike) // _COMPARED)][:_COMPARED]:
        try:
            image, _ = read_image_of(pair, limits)
        except ImageError:
            continue  # reported when all images are read
        if image_signature(image.pixels) in model.signatures:
            return model
        compared += 1
    if not compared:
        return model
    logger.warning(
        "%d images have the names of training images (%s), but other pixels. They count as other "
        "images: those of %s are not recognised by name.",
        len(alike),
        name_some(pair.name for pair in alike),
        model,
    )
    return ModelSplit(model.file, Split(()), frozenset(), signatures=model.signatures)


def out_of_fold(fold_of: Mapping[str, int] | None, draw: Draw | None) -> Draw | None:
    """Return the sampling function for the chosen images, `draw` unless they are folds.

    Each image of a fold is sampled by the one member that was not trained on it.
    """
    if fold_of is None:
        return draw
    logger.info("Each image is segmented by the one model that was not trained on it.")
    return OutOfFold(fold_of, draw or unprompted)


def pairs_of_model(
    args: argparse.Namespace,
    pairs: Sequence[Pair],
    model: ModelSplit | None,
    asked: str | None,
    default: str,
) -> tuple[list[Pair], str | None]:
    """Return the pairs of a part in the model's own split, and the part; log the choice.

    Parameters
    ----------
    asked
        The part, or `ALL`.
    default
        The part if `asked` is None. If an image of it is missing, all pairs are used, because the
        images are then not those of the split, and the part is None.

    Raises
    ------
    DatasetError
        If images of the part `asked` for are missing.
    """
    if asked == ALL or model is None:
        return list(pairs), asked
    part = asked or default
    wanted: tuple[str, ...] = getattr(model.split, part)
    chosen_pairs = [pair for pair in pairs if pair.name in set(wanted)]
    if asked is None and (not wanted or len(chosen_pairs) < len(wanted)):
        lacking = model.trained_on and not wanted
        reason = f"part {part} is empty in" if lacking else "they are not those of"
        logger.info("Using all %d images: %s the split %s.", len(pairs), reason, model)
        return list(pairs), None
    _check_part(args, model, part, set(wanted) - {pair.name for pair in chosen_pairs})
    everything = f"; --part {ALL} selects all" if args.data is None else ""
    logger.info(
        "Using the %d images of part %s of %s, out of %d%s.",
        len(chosen_pairs), part, model, len(pairs), everything,
    )  # fmt: skip
    return chosen_pairs, part


def _check_part(args: argparse.Namespace, model: ModelSplit, part: str, missing: set[str]) -> None:
    """Raise `DatasetError` if a part is empty or images of it are missing."""
    if not model.trained_on:
        raise DatasetError(
            f"The images are not those of {model}. Leave --part out, or name their split with "
            "--split FILE."
        )
    if not getattr(model.split, part):
        raise DatasetError(f"The part {part} of {model} is empty; choose another --part.")
    if missing:
        everything = (
            f", or add --part {ALL}."
            if args.data is None
            else ". For a model that was not trained on these images, --part train takes all of "
            "them."
        )
        raise DatasetError(
            f"{args.images or args.data} lacks {len(missing)} images of the part {part} of "
            f"{model}: {name_some(missing)}. Choose the training folder, or another split "
            f"with --split FILE{everything}"
        )


def warn_of_trained(
    args: argparse.Namespace, pairs: Sequence[Pair], model: ModelSplit | None
) -> int:
    """Warn if the model was trained on some images, judged by name; return their number.

    Also warn if that is not known of a model other than a bundled one.
    """
    if model is None:
        if args.split is None and args.model not in (None, *bundled_models()):
            logger.warning(
                "It is not known which images the model was trained on, because its "
                "folder has no training/split.json. Scores on them are too optimistic: leave them "
                "out."
            )
        return 0
    trained = [pair.name for pair in pairs if pair.name in model.trained_on]
    if trained:
        logger.warning(
            "The model was trained on %d of these %d images (%s). Scores on them are "
            "too optimistic. (Compared by name with %s.)",
            len(trained),
            len(pairs),
            name_some(trained),
            model,
        )
    return len(trained)


def warn_of_renamed(stored: Iterable[StoredPair], model: ModelSplit | None) -> int:
    """Warn if images have the pixels of training images of other names; return their number."""
    if model is None:
        return 0
    renamed = {
        pair.name: model.signatures[pair.signature]
        for pair in stored
        if pair.signature in model.signatures and pair.name not in model.trained_on
    }
    if renamed:
        logger.warning(
            "The model was trained on %d of these images under other names (%s). Scores "
            "on them are too optimistic.",
            len(renamed),
            name_some(f"{name} = {known}" for name, known in renamed.items()),
        )
    return len(renamed)
