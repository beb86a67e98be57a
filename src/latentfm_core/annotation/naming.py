"""One name for each label in all images of an export."""

from __future__ import annotations

from dataclasses import replace

from latentfm_core.annotation.labelled import LabelledImage, label_name
from latentfm_core.config import ModelConfig
from latentfm_core.errors import OutputError
from latentfm_core.names import shown

_GIVEN = 2
"""Rank of a name from the annotator; that of a model's class has 1, and of an unnamed one 0."""


class LabelNames:
    """Names of the labels of several images.

    A label has one name in all images. Where models differ, it is that of the first image whose
    model names its class.
    """

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._ranks: dict[int, int] = {}
        self._replaced: set[tuple[int, str]] = set()

    def add(self, labelled: LabelledImage) -> None:
        """Add the names of an image.

        Raises
        ------
        OutputError
            If the annotator named a label otherwise than in an image before, or a name belongs to
            different labels.
        """
        named = _named(labelled)
        for label, name in named.items():
            rank = _GIVEN if label in labelled.names else _rank(label, name)
            others = {each for other, each in named.items() if other != label}
            self._name(labelled.image, label, name, rank, others)

    def of(self, labelled: LabelledImage) -> dict[int, str]:
        """Return the name of each label in an image that was added, as known so far."""
        return {label: self._names[named] for label, named in labels_named(labelled).items()}

    def applied(self, labelled: LabelledImage) -> LabelledImage:
        """Return an image that was added, with these names."""
        return replace(labelled, names={**labelled.names, **self.of(labelled)})

    @property
    def names(self) -> dict[int, str]:
        """The name of each class, by its label."""
        return dict(sorted(self._names.items()))

    def replaced(self) -> str:
        """Return which names of models were replaced, in sentences, or ""."""
        return " ".join(
            f"Label {label} is called {shown(repr(self._names[label]))} in all images; "
            f"the model of some calls it {shown(repr(name))}."
            for label, name in sorted(self._replaced)
            if name != self._names[label]
        )

    def _name(self, image: str, label: int, name: str, rank: int, others: set[str]) -> None:
        """Keep the name of a label if none before has the same or a higher rank.

        `others` are the names of other labels of the image.
        """
        known = self._names.setdefault(label, name)
        before = self._ranks.setdefault(label, rank)
        self._ranks[label] = max(rank, before)
        if known == name:
            return
        others |= {each for other, each in self._names.items() if other != label}
        if (max(rank, before) == _GIVEN and min(rank, before)) or {known, name} & others:
            raise OutputError(
                f"{shown(image)}: label {label} is called {name!r} here, and "
                f"{known!r} in another image. An export has one name per label. Open one of these "
                f"images, select label {label} of its annotation, rename it with Name label… "
                "in the section Annotation, and accept the image again. The name then applies "
                "to the whole folder."
            )
        if rank > before:
            self._names[label] = name
        self._replaced.add((label, known if rank > before else name))


def labels_named(labelled: LabelledImage) -> dict[int, int]:
    """Return for each label in an image the label whose name it has.

    An object of a class has that of the class.
    """
    named = _named(labelled)
    first = {name: label for label, name in sorted(named.items(), reverse=True)}
    return {
        label: label if label in named else first[labelled.name(label)]
        for label in labelled.present
    }


def _named(labelled: LabelledImage) -> dict[int, str]:
    """Return the names of the classes, and of labels in the image that belong to none."""
    classes = labelled.class_names
    known = set(classes.values())
    found = {label: labelled.name(label) for label in labelled.present}
    return classes | {label: name for label, name in found.items() if name not in known}


def _rank(label: int, name: str) -> int:
    """Return the rank of a name that the annotator did not give."""
    return int(name not in (*ModelConfig().classes, label_name((), label)))
