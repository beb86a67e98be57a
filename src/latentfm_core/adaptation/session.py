"""Adapt a model to the accepted images of a work list, in steps that can be stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentfm_core.adaptation.calibrating import PROMPTED, HeldOutCalibration, Prompted
from latentfm_core.adaptation.card import adapted_card
from latentfm_core.adaptation.comparison import Comparison, HeldOutTest, compare
from latentfm_core.adaptation.learner import Learner
from latentfm_core.adaptation.record import AdaptationFolder, AdaptationRecord, LearnedImage
from latentfm_core.adaptation.scoring import held_out_steps
from latentfm_core.adaptation.storing import store
from latentfm_core.adaptation.views import ViewStore, draw_views, training_image
from latentfm_core.annotation.fingerprint import image_signature, labels_digest
from latentfm_core.config import ADAPTATION, AdaptationConfig
from latentfm_core.errors import ConfigError, ModelFolderError
from latentfm_core.images.intensity import to_rgb
from latentfm_core.inference.device import describe, resolve_precision
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import ModelCard, read_only_card
from latentfm_core.model_io.folder import load_model
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.types import Float32, ImageInput
from latentfm_core.uncertainty.calibration import Calibration
from latentfm_core.uncertainty.domain import TrainingDomain

logger = logging.getLogger(__name__)

DEVICE = torch.device("cpu")
"""The adaptation leaves a GPU to the samples."""


@dataclass(frozen=True)
class AcceptedImage:
    """An accepted image of a work list.

    Attributes
    ----------
    image
        The image; its name is the file name in the list.
    labels
        ``(H, W)`` integers, 0 is background.
    file
        File name of the annotation.
    """

    image: ImageInput
    labels: NDArray[Any]
    file: str = ""


class AdaptationSession:
    """A model and its adapted copy.

    `accept` and `train` are generators: they yield after each test, view and step, at most a
    fraction of a second apart, and closing them stops the work there.

    Parameters
    ----------
    source
        Name of a bundled model, or a model folder.
    config
        Settings.

    Attributes
    ----------
    record
        Images and tests so far.
    present, adapted
        Both models.
    due
        Seconds of computing that are left for the images accepted so far.

    Raises
    ------
    ConfigError
        If the model does not take prompts.
    ModelFolderError
        If it is missing or damaged, or an ensemble.
    """

    def __init__(self, source: str | Path, config: AdaptationConfig = ADAPTATION) -> None:
        folder = resolve_model(source)
        card = read_only_card(folder)
        if not card.config.model.prompts:
            raise ConfigError(
                f"The model {card.id} does not take prompts and cannot be adapted. Choose a model "
                "that does, for example generalist."
            )
        self.config = config
        self._folder = folder
        self.present = Segmenter.load(folder, "cpu")
        self.parent_card = self.present.card
        original, own_card = _without_few_steps(folder, self.parent_card)
        self._dtype = resolve_precision(self.present.precision, DEVICE)
        self._store = ViewStore(config.memory_mb * 2**20)
        self._features: dict[str, Float32] = {}
        self.learner = Learner(original, own_card.config, config, self._dtype)
        self.adapted = Segmenter(self.learner.model, own_card, "cpu", self.present.precision)
        self._calibration = HeldOutCalibration(own_card.config)
        self.record = self._empty()
        self.due = 0.0

    @property
    def comparison(self) -> Comparison:
        """The comparison of both models so far."""
        return compare(self.record.tests, self.config)

    def knows(self, fingerprint: str, labels: str) -> bool:
        """Return whether the adapted model has learned from these labels of an image."""
        return any((i.fingerprint, i.labels) == (fingerprint, labels) for i in self.record.images)

    def accept(self, accepted: AcceptedImage) -> Generator[None, None, None]:
        """Test both models on an accepted image, and keep its features for training.

        An image that is accepted again with other labels replaces its earlier ones, without a
        test, since the adapted model has learned from it. If the caller closes the iterator, the
        image is not added.
        """
        start = time.process_time()
        image, labels = accepted.image, accepted.labels
        fingerprint, digest = image_signature(image.pixels), labels_digest(labels)
        if self.knows(fingerprint, digest) and fingerprint in self._store:
            return
        again = any(known.fingerprint == fingerprint for known in self.record.images)
        test: HeldOutTest | None = None
        if self.record.images and not again:
            learned = len(self.record.images)
            test = yield from held_out_steps(
                self.present, self.adapted, image, labels, learned, self._calibration
            )
            self._calibrate()
        yield from self._keep(accepted, fingerprint)
        learned_image = LearnedImage(
            name=image.name, file=accepted.file, fingerprint=fingerprint, labels=digest
        )
        others = [known for known in self.record.images if known.fingerprint != fingerprint]
        self.record = self.record.model_copy(
            update={
                "images": (*others, learned_image),
                "tests": (*self.record.tests, *([] if test is None else [test])),
            }
        )
        self.due += self.config.seconds
        self._spend(time.process_time() - start)

    def restore(self, accepted: AcceptedImage) -> Iterator[None]:
        """Keep the features of an image that the adapted model learned from in an earlier session.

        Images or labels that have changed since are left out.
        """
        fingerprint = image_signature(accepted.image.pixels)
        known = self.knows(fingerprint, labels_digest(accepted.labels))
        if known and fingerprint not in self._store:
            yield from self._keep(accepted, fingerprint)

    def _keep(self, accepted: AcceptedImage, fingerprint: str) -> Iterator[None]:
        self._features[fingerprint] = self.present.mean_features(to_rgb(accepted.image))
        item = training_image(accepted.image, accepted.labels)
        size = self.parent_card.config.data.size
        number = int(fingerprint[:12], 16)
        model, config = self.present.model, self.config
        views = []
        for view in draw_views(model, item, size, config, number, self._dtype):
            views.append(view)
            yield
        self._store.drop(fingerprint)
        for view in views:
            self._store.add(fingerprint, view)

    def train(self) -> Generator[float, None, None]:
        """Train while there is computing time left; yield the loss of each step.

        The model in `adapted` is updated when the iterator ends or is closed.
        """
        if not len(self._store):
            self.due = 0.0
        try:
            while self.due > 0:
                start = time.process_time()
                loss = self.learner.step(self._store)
                self._spend(time.process_time() - start)
                yield loss
        finally:
            self.learner.publish()

    def _calibrate(self) -> None:
        """Fit the calibration to the held-out tests, once there are enough in this session."""
        fewest, prompted = self.config.fewest, dict(self.adapted.card.prompt_calibrations)
        none = self._calibration.fit("none", fewest)
        for kind in PROMPTED:
            if (found := self._calibration.fit(kind, fewest)) is not None:
                prompted[kind] = found
        if none is not None:
            self._set_calibration(none, prompted)

    def _set_calibration(
        self, none: Calibration | None, prompted: dict[Prompted, Calibration]
    ) -> None:
        update = {"calibration": none, "prompt_calibrations": prompted}
        self.adapted.card = self.adapted.card.model_copy(update=update)

    def _spend(self, seconds: float) -> None:
        self.due = max(0.0, self.due - seconds)
        total = self.record.seconds + seconds
        self.record = self.record.model_copy(update={"seconds": total})

    def save(self, folder: AdaptationFolder) -> Comparison:
        """Write adapted model and record; return the comparison.

        Raises
        ------
        OutputError
            If they cannot be written.
        """
        comparison = self.comparison
        self.record = self.record.model_copy(update={"used": comparison.used})
        device = describe(DEVICE, self._dtype)
        own = self.adapted.card.model_copy(update={"weights": self.parent_card.weights})
        card = adapted_card(own, self.record, comparison, self.config, device)
        self.record = store(folder, self.record, self.learner.model, card, self._domain())
        return comparison

    def _domain(self) -> TrainingDomain | None:
        """Return the training domain of the adapted model, whose image encoder is the original."""
        domain = self.present.domain
        if domain is None or not self._features:
            return domain
        return domain.with_set(np.stack(list(self._features.values())))

    def load(self, folder: AdaptationFolder) -> bool:
        """Continue from the adapted model of a work list; return whether there is one to continue.

        A model that was adapted from another one is not continued.
        """
        record = folder.read()
        if record.parent_sha256 != self.parent_card.weights_sha256 or not record.images:
            return False
        try:
            model, card = load_model(folder.model(record.version))
        except ModelFolderError as error:
            logger.warning("The stored adapted model cannot be continued: %s", error)
            return False
        parent = card.parent
        fits = parent is not None and parent.sha256 == self.parent_card.weights_sha256
        if not fits or card.config.model != self.adapted.card.config.model:
            return False
        self.learner.continue_from(model)
        self._set_calibration(card.calibration, card.prompt_calibrations)
        self.record, self.due = record, 0.0
        return True

    def undo(self) -> None:
        """Discard everything that was learned, and use the original model again."""
        self._store.clear()
        self._features.clear()
        self.learner.reset()
        self._calibration.clear()
        self._set_calibration(None, {})
        self.record, self.due = self._empty(), 0.0

    def _empty(self) -> AdaptationRecord:
        card = self.parent_card
        return AdaptationRecord(parent=card.id, parent_sha256=card.weights_sha256)


def _without_few_steps(folder: Path, card: ModelCard) -> tuple[LatentFM, ModelCard]:
    """Return the network and card of a model without the network for few steps.

    That network would still match the original flow.
    """
    model, _ = load_model(folder)
    model.few_step_velocity = None
    config = card.config.without_few_steps()
    model.config = config.model
    # Calibrations were fitted to the samples of the original weights.
    update: dict[str, Any] = {
        "config": config,
        "calibration": None,
        "prompt_calibrations": {},
    }
    return model, card.model_copy(update=update)
