"""Selection of images by the model's own split, and warnings about its training images."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Mapping, Sequence

from latentfm_core.cli.model_split import ModelSplit
from latentfm_core.config import ReadingConfig
from latentfm_core.datasets.pair_reading import read_image_of
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.splits import Split
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.errors import DatasetError, ImageError
from latentfm_core.evaluation.evaluate import Draw, unprompted
from latentfm_core.evaluation.out_of_fold import OutOfFold
from latentfm_core.images.signature import image_signature
from latentfm_core.model_io.bundled import bundled_models
from latentfm_core.names import counted, name_some

logger = logging.getLogger(__name__)

_NEARLY_ALL = 0.9
"""Share of the training images that are in the training folder, even after some were removed."""

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
        "%s of training images (%s), but other pixels: the images count as other ones, and those "
        "of %s are not recognised by name.",
        counted(len(alike), "image has the name", "images have the names"),
        name_some(pair.name for pair in alike),
        model,
    )
    return ModelSplit(
        model.file,
        Split(()),
        frozenset(),
        signatures=model.signatures,
        parent_images=model.parent_images,
    )


def out_of_fold(fold_of: Mapping[str, int] | None, draw: Draw | None) -> Draw | None:
    """Return the sampling function for the chosen images, `draw` unless they are folds.

    Each image of a fold is sampled by the one member whose training left that fold out.
    """
    if fold_of is None:
        return draw
    logger.info("Each image is segmented by the one model whose training left its fold out.")
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
        The part if `asked` is None. If an image of it is missing, the images are not those of the
        split: all are used, and the part is None. If nearly all training images and some of this
        part are there, that is an error.

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
    seen = sum(pair.name in model.trained_on for pair in pairs)
    is_complete = wanted and len(chosen_pairs) == len(wanted)
    # Nearly all training images, and some of the part, are the training folder without the others.
    is_other = not chosen_pairs or seen < _NEARLY_ALL * len(model.trained_on)
    if asked is None and not is_complete and is_other:
        lacking = model.trained_on and not wanted
        reason = f"part {part} is empty in" if lacking else "they are not those of"
        logger.info("Using all %d images: %s the split %s.", len(pairs), reason, model)
        return list(pairs), None
    _check_part(args, model, part, set(wanted) - {pair.name for pair in chosen_pairs})
    everything = f"; --part {ALL} selects all" if args.data is None else ""
    logger.info(
        "Using the %s of part %s of %s, out of %d%s.",
        counted(len(chosen_pairs), "image"), part, model, len(pairs), everything,
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
            f"{args.images or args.data} lacks {counted(len(missing), 'image')} of the part {part} "
            f"of {model}: {name_some(missing)}. Choose the training folder, or another split "
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


def warn_of_parent(
    stored: Iterable[StoredPair], model: ModelSplit | None, *, held_out: bool
) -> int:
    """Warn if a model that this one started from was trained on images; return their number.

    Parameters
    ----------
    held_out
        Whether each image is segmented by a model whose own training left it out. Otherwise
        training images of the model itself, of which other warnings exist, do not count.
    """
    if model is None:
        return 0
    own = frozenset[str]() if held_out else model.trained_on
    seen = [
        pair.name
        for pair in stored
        if pair.signature in model.parent_images
        and (held_out or pair.signature not in model.signatures)
        and pair.name not in own
    ]
    if seen:
        logger.warning(
            "The model started from another one (--init), which was trained on %d of these images "
            "(%s). Scores on them are too optimistic.",
            len(seen),
            name_some(seen),
        )
    return len(seen)
