"""The model's own training split, used when the user gives no split."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from latentfm_core.datasets.folds import FILE as FOLDS
from latentfm_core.datasets.folds import FOLDER, Folds, read_folds
from latentfm_core.datasets.object_set import names_in_set
from latentfm_core.datasets.pairs import Pair, name_some
from latentfm_core.datasets.splits import Split, read_split
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.errors import DatasetError, ModelFolderError
from latentfm_core.evaluation.evaluate import Draw, unprompted
from latentfm_core.evaluation.out_of_fold import OutOfFold
from latentfm_core.images.endings import image_name
from latentfm_core.model_io.bundled import bundled_models, resolve_model
from latentfm_core.names import comparable
from latentfm_core.training.run_folder import TRAINING
from latentfm_core.training.trained_on import read_signatures, sets_of_run, trained_on

logger = logging.getLogger(__name__)

ALL = "all"
"""Value of ``--part`` for all images, including those the model was trained on."""


@dataclass(frozen=True)
class ModelSplit:
    """Record of the split that a training run wrote into its model folder.

    Attributes
    ----------
    file
        ``training/split.json`` of the model folder.
    trained_on
        Names of the images that the model was trained on, in any of the run's parts.
    folds
        Of a cross-validation its folds. Together they are the training part, and the validation
        part as well, because every image in them was held out from one of the models.
    signatures
        Name of each image that the model was trained on, by the signature of its pixels, as far
        as they were recorded.
    kind
        Whether the masks of the data set are ``"masks"`` or ``"instances"`` (numbered objects).
    """

    file: Path
    split: Split
    trained_on: frozenset[str]
    folds: Folds | None = None
    set_name: str = ""
    signatures: Mapping[str, str] = field(default_factory=dict)
    kind: str = "masks"

    def __str__(self) -> str:
        return f"{self.file} (set {self.set_name})" if self.set_name else str(self.file)

    def of_set(self, name: str, kind: str) -> ModelSplit:
        """Return the part of one of several data sets, with the names of its files."""

        def own(names: Iterable[str]) -> tuple[str, ...]:
            return names_in_set(name, names)

        split, folds = self.split, self.folds
        if folds is not None:
            folds = replace(folds, folds=tuple(map(own, folds.folds)), test=own(folds.test))
        return ModelSplit(
            self.file,
            Split(own(split.train), own(split.val), own(split.test)),
            frozenset(own(self.trained_on)),
            folds,
            name,
            self.signatures,
            kind,
        )

    def fold_of(self, pairs: Sequence[Pair], part: str | None) -> dict[str, int] | None:
        """Return the fold of each image if `pairs` are the folds of an ensemble, else None."""
        if self.folds is None or part != "val":
            return None
        known = self.folds.fold_of()
        # The folder of a challenge has its own validation part.
        return known if all(pair.name in known for pair in pairs) else None


def model_split(args: argparse.Namespace) -> ModelSplit | None:
    """Return the split that the model was trained with; None if its folder has none.

    If it was trained on several data sets, that is the part of the set whose images are in
    ``args.images``.

    Raises
    ------
    DatasetError
        If the file is damaged.
    """
    names = bundled_models()
    source = args.model or (names[0] if names else None)
    if source is None:
        return None
    try:
        model = resolve_model(source)
    except ModelFolderError:
        return None  # reported when the model is loaded
    if (model / FOLDS).is_file():
        return _of_set(_split_of_folds(model), model / FOLDER.format(0), args.images)
    folder = model / TRAINING
    file = folder / "split.json"
    if not file.is_file():
        return None
    split = read_split(file)
    known = _by_signature(folder)
    found = ModelSplit(file, split, frozenset(trained_on(split, folder)), signatures=known)
    return _of_set(found, model, args.images)


def _of_set(whole: ModelSplit, run: Path, images: Path | None) -> ModelSplit:
    """Return the part of the data set in the folder `images`, `whole` if the run had only one.

    The set is known by its folder; of a run or images that were moved, by the names of its images.
    """
    sets = sets_of_run(run / TRAINING)
    if not sets or images is None:
        return whole
    for name, (folder, kind) in sets.items():
        if folder == str(images.resolve()):
            return whole.of_set(name, kind)
    files = images.iterdir() if images.is_dir() else ()
    there = {image_name(comparable(path.name)) for path in files}
    parts = [whole.of_set(name, kind) for name, (_, kind) in sets.items()]
    common = [len(there & {*part.trained_on, *part.split.test}) for part in parts]
    return parts[common.index(max(common))] if any(common) else whole


def _split_of_folds(model: Path) -> ModelSplit:
    file = model / FOLDS
    folds = read_folds(file)
    names = tuple(sorted(folds.fold_of()))
    split = Split(names, names, folds.test)
    known: dict[str, str] = {}
    for fold in range(len(folds.folds)):
        known |= _by_signature(model / FOLDER.format(fold) / TRAINING)
    return ModelSplit(file, split, frozenset(names), folds, signatures=known)


def _by_signature(folder: Path) -> dict[str, str]:
    return {signature: name for name, signature in read_signatures(folder).items()}


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
        logger.info("Using all %d images: they are not those of the split %s.", len(pairs), model)
        return list(pairs), None
    if not wanted:
        raise DatasetError(f"The part {part} of {model} is empty; choose another --part.")
    missing = set(wanted) - {pair.name for pair in chosen_pairs}
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
    everything = f"; --part {ALL} selects all" if args.data is None else ""
    logger.info(
        "Using the %d images of part %s of %s, out of %d%s.",
        len(chosen_pairs), part, model, len(pairs), everything,
    )  # fmt: skip
    return chosen_pairs, part


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
