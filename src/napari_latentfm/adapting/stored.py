"""Stored state of the adaptation of a work list, read without its process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from latentfm_core.adaptation.comparison import compare
from latentfm_core.adaptation.messages import Adapted
from latentfm_core.adaptation.record import AdaptationFolder, AdaptationRecord
from latentfm_core.config import AdaptationConfig
from latentfm_core.errors import LatentFMError
from latentfm_core.files.user_path import user_path
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_only_card

NO_PROMPTS = "This model does not take prompts and cannot be adapted. Choose one that does."


@dataclass(frozen=True)
class StoredAdaptation:
    """Adaptation of one model to one work list, as stored.

    Attributes
    ----------
    source
        The chosen model, with its folder made absolute.
    problem
        Why it cannot be adapted, or "".
    begun
        Whether there is a record of an adaptation of this model.
    record
        That record; empty without one.
    model
        Folder of the adapted model, if it is to be used.
    """

    source: str
    parent_sha256: str = ""
    problem: str = ""
    begun: bool = False
    record: AdaptationRecord = field(default_factory=AdaptationRecord)
    model: Path | None = None

    @property
    def learned(self) -> bool:
        """Whether the model has learned from images."""
        return bool(self.record.images)

    def text(self, config: AdaptationConfig) -> str:
        """Return the state as one line; `config` decides which tests count."""
        if self.problem:
            return self.problem
        comparison = compare(self.record.tests, config)
        return Adapted(
            images=len(self.record.images),
            tests=comparison.n_tests,
            used=self.model is not None,
            figures=comparison.figures() if comparison.n_tests else "",
            fewest=config.fewest,
        ).text()


def stored_adaptation(source: str | Path, output: Path) -> StoredAdaptation:
    """Read the adaptation of a model to the work list with an output folder."""
    try:
        folder = resolve_model(source)
        card = read_only_card(folder)
    except LatentFMError as error:
        return StoredAdaptation(str(source), problem=str(error))
    # The process has another working directory on some systems.
    name = str(folder.resolve()) if user_path(source).is_dir() else str(source)
    if not card.config.model.prompts:
        return StoredAdaptation(name, card.weights_sha256, NO_PROMPTS)
    kept = AdaptationFolder(output)
    record = kept.read()
    begun = record.parent_sha256 == card.weights_sha256
    if not begun:
        return StoredAdaptation(name, card.weights_sha256)
    model = kept.in_use(card.weights_sha256)
    return StoredAdaptation(name, card.weights_sha256, "", begun, record, model)


def forget(output: Path, stored: StoredAdaptation) -> None:
    """Remove the adapted model of a work list while no process adapts it.

    Raises
    ------
    LatentFMError
        If another window adapts it, or it cannot be removed.
    """
    folder = AdaptationFolder(output)
    with folder.writing():
        folder.discard()
        # An empty record: images accepted so far are not learned again.
        folder.write(
            AdaptationRecord(parent=stored.record.parent, parent_sha256=stored.parent_sha256)
        )
