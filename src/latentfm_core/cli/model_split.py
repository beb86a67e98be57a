"""The model's own training split, used when the user gives no split."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from latentfm_core.datasets.folds import FILE as FOLDS
from latentfm_core.datasets.folds import FOLDER, Folds, read_folds
from latentfm_core.datasets.object_set import names_in_set, unique_name
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.splits import Split, read_split
from latentfm_core.images.endings import image_name
from latentfm_core.model_io.bundled import bundled_models, resolve_model
from latentfm_core.model_io.ensemble import member_folders
from latentfm_core.names import comparable, name_some
from latentfm_core.once import first_time
from latentfm_core.training.run_folder import TRAINING
from latentfm_core.training.trained_on import (
    read_parent_images,
    read_signatures,
    sets_of_run,
    trained_on,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelSplit:
    """Record of the split that a training run wrote into its model folder.

    Attributes
    ----------
    file
        ``training/split.json`` of the model folder; of an ensemble with a ``*`` for its members.
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
    parent_images
        The same as `signatures` of the models that the training started from.
    """

    file: Path
    split: Split
    trained_on: frozenset[str]
    folds: Folds | None = None
    set_name: str = ""
    signatures: Mapping[str, str] = field(default_factory=dict)
    kind: str = "masks"
    parent_images: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.file} (set {self.set_name})" if self.set_name else str(self.file)

    def recorded(self, name: str) -> str:
        """Return the name of an image in `signatures`."""
        return unique_name(self.set_name, name) if self.set_name else name

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
            self.parent_images,
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
    ModelFolderError
        If there is no such model.
    """
    names = bundled_models()
    source = args.model or (names[0] if names else None)
    if source is None:
        return None
    model = resolve_model(source)
    if (model / FOLDS).is_file():
        return _of_set(_split_of_folds(model), model / FOLDER.format(0), args.images)
    members = member_folders(model)
    if members:
        return _joint(model, members, args.images)
    return _single(model, args.images)


def _single(model: Path, images: Path | None) -> ModelSplit | None:
    folder = model / TRAINING
    file = folder / "split.json"
    if not file.is_file():
        return None
    split = read_split(file)
    found = ModelSplit(
        file,
        split,
        frozenset(trained_on(split, folder)),
        signatures=_by_signature(folder),
        parent_images=read_parent_images(folder),
    )
    return _of_set(found, model, images)


def _joint(ensemble: Path, members: Sequence[Path], images: Path | None) -> ModelSplit | None:
    """Return the split of an ensemble.

    An image is in its validation or test part if it is in that of each member, and in its training
    part if one member was trained on it.
    """
    every = {member.name: _single(member, images) for member in members}
    known = [split for split in every.values() if split is not None]
    unknown = [name for name, split in every.items() if split is None]
    if known and unknown and first_time("members without a split", ensemble):
        logger.warning(
            "It is not known which images %s of %s were trained on.", name_some(unknown), ensemble
        )
    if not known:
        return None
    trained = frozenset[str]().union(*(one.trained_on for one in known))
    val, test = (
        set.intersection(*(set(getattr(one.split, part)) for one in known)) - trained
        for part in ("val", "test")
    )
    names, kinds = {one.set_name for one in known}, {one.kind for one in known}
    return ModelSplit(
        ensemble / "*" / TRAINING / "split.json",
        Split(tuple(sorted(trained)), tuple(sorted(val)), tuple(sorted(test))),
        trained,
        set_name=names.pop() if len(names) == 1 else "",
        signatures={key: name for one in known for key, name in one.signatures.items()},
        kind=kinds.pop() if len(kinds) == 1 else "masks",
        parent_images={key: name for one in known for key, name in one.parent_images.items()},
    )


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
    before: dict[str, str] = {}
    for fold in range(len(folds.folds)):
        folder = model / FOLDER.format(fold) / TRAINING
        known |= _by_signature(folder)
        before |= read_parent_images(folder)
    trained = frozenset(names)
    return ModelSplit(file, split, trained, folds, signatures=known, parent_images=before)


def _by_signature(folder: Path) -> dict[str, str]:
    return {signature: name for name, signature in read_signatures(folder).items()}
