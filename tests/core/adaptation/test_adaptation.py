"""Adaptation of a small promptable model to images of an unseen kind."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.io import imsave

from latentfm_core.adaptation.background import Inbox, _Loop, run
from latentfm_core.adaptation.calibrating import shifted_quality
from latentfm_core.adaptation.comparison import HeldOutTest, compare
from latentfm_core.adaptation.messages import (
    Accept,
    Adapted,
    Event,
    Failed,
    Pause,
    Skipped,
    Start,
    Undo,
    Working,
    event_from,
)
from latentfm_core.adaptation.record import (
    AdaptationFolder,
    AdaptationRecord,
    LearnedImage,
    keep_as_model,
)
from latentfm_core.adaptation.session import AcceptedImage, AdaptationSession
from latentfm_core.adaptation.views import View, ViewStore, draw_views, training_image
from latentfm_core.annotation.export import write_labels_file
from latentfm_core.annotation.formats import Space
from latentfm_core.config import AdaptationConfig, SamplingConfig
from latentfm_core.errors import ConfigError, FolderBusy, OutputError
from latentfm_core.images.intensity import to_rgb
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.model_io.card import read_card
from latentfm_core.model_io.domain import write_domain
from latentfm_core.model_io.folder import save_model
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.maps import BOX, NEGATIVE, POSITIVE, ROUGH_MASK
from latentfm_core.types import ImageInput
from latentfm_core.uncertainty.domain import fit_domain
from tests.helpers.fixtures import copy_model
from tests.helpers.prompting import two_discs

QUICK = AdaptationConfig(seconds=0.8, views=6, batch_size=8, learning_rate=3e-3, fewest=3)
FEW = SamplingConfig(n_samples=4, steps=2)
PATIENCE = 120.0


def unseen(number: int) -> AcceptedImage:
    """Return an image of two bright discs and the annotation that a user would accept."""
    pixels, labels = two_discs(np.random.default_rng(1000 + number))
    marked = (labels > 0).astype(np.uint8)
    return AcceptedImage(ImageInput(255 - pixels, name=f"{number}.png"), marked, f"{number}.tif")


def exhaust(steps: Iterator[object]) -> None:
    for _ in steps:
        pass


def dice_without_prompt(segmenter: Segmenter, numbers: range) -> float:
    found = []
    for number in numbers:
        item = unseen(number)
        mask = segmenter.summarise(segmenter.sample(item.image, FEW)).mean_mask
        found.append(dice(np.asarray(mask > 0), np.asarray(item.labels > 0)))
    return float(np.mean(found))


@pytest.fixture(scope="module")
def adapted(promptable_model_folder: Path) -> AdaptationSession:
    """A session after learning from six images."""
    session = AdaptationSession(promptable_model_folder, QUICK)
    for number in range(6):
        exhaust(session.accept(unseen(number)))
        exhaust(session.train())
    return session


def test_the_adapted_model_is_used_once_better_on_unseen_images(
    adapted: AdaptationSession,
) -> None:
    assert [test.image for test in adapted.record.tests] == [f"{n}.png" for n in range(1, 6)]
    assert [test.learned for test in adapted.record.tests] == [1, 2, 3, 4, 5]
    assert adapted.comparison.used
    assert adapted.comparison.adapted > adapted.comparison.present
    others = range(100, 108)
    before = dice_without_prompt(adapted.present, others)
    assert dice_without_prompt(adapted.adapted, others) > before + 0.1


def test_only_a_rough_mask_may_have_an_empty_target(adapted: AdaptationSession) -> None:
    # A box or a click without an object would teach the model to ignore prompts.
    config = AdaptationConfig(views=256, unprompted=0.0)
    item = training_image(unseen(0).image, unseen(0).labels)
    size = adapted.parent_card.config.data.size
    views = list(draw_views(adapted.present.model, item, size, config, number=1))
    batch = adapted.learner.stage.batch_of(views, np.random.default_rng(0))
    gone = ~batch["masks"].flatten(1).any(dim=1).numpy() & np.array([v.prompted for v in views])
    maps = batch["prompts"][gone].numpy()
    assert len(maps) >= 3
    assert not maps[:, [BOX, POSITIVE, NEGATIVE]].any()
    assert (maps[:, ROUGH_MASK] > 0).any(axis=(1, 2)).all()
    assert not batch["corrected"].numpy()[gone].any()


def test_the_original_model_is_not_changed(
    adapted: AdaptationSession, promptable_model_folder: Path
) -> None:
    again = Segmenter.load(promptable_model_folder, "cpu")
    image = unseen(200).image
    same = adapted.present.sample(image, FEW).probabilities
    assert np.array_equal(same, again.sample(image, FEW).probabilities)


def test_the_computing_time_is_bounded_by_the_number_of_images(adapted: AdaptationSession) -> None:
    assert adapted.due == 0
    steps = adapted.learner.steps
    exhaust(adapted.train())
    assert adapted.learner.steps == steps


def test_training_stops_at_the_step_that_the_caller_requests(
    promptable_model_folder: Path,
) -> None:
    session = AdaptationSession(promptable_model_folder, QUICK)
    exhaust(session.accept(unseen(0)))
    assert 0 < session.due < QUICK.seconds, "features take some of the time"
    steps = session.train()
    next(steps)
    steps.close()
    assert session.learner.steps == 1
    assert session.due > 0


def test_the_adapted_model_is_restored_with_the_list(
    adapted: AdaptationSession, promptable_model_folder: Path, tmp_path: Path
) -> None:
    folder = AdaptationFolder(tmp_path)
    with folder.writing():
        adapted.save(folder)
    used = folder.in_use(adapted.parent_card.weights_sha256)
    assert used is not None
    assert folder.in_use("0" * 64) is None, "another model was adapted"
    card = read_card(used)
    assert card.parent is not None
    assert (card.parent.id, card.parent.n_images) == (adapted.parent_card.id, 6)
    assert card.metrics["val_held_out_dice"] == pytest.approx(adapted.comparison.adapted)
    assert card.calibration is not None
    assert card.calibration.n_images == 5
    assert card.calibration.quality is not None
    assert {kind: found.n_images for kind, found in card.prompt_calibrations.items()} == {
        "box": 5,
        "point": 5,
    }
    assert "not calibrated" not in card.description
    again = AdaptationSession(promptable_model_folder, QUICK)
    assert again.load(folder)
    assert again.record == adapted.record
    numbers = range(100, 104)
    expected = dice_without_prompt(adapted.adapted, numbers)
    assert dice_without_prompt(again.adapted, numbers) == pytest.approx(expected, abs=0.02)
    steps = again.learner.steps
    exhaust(again.accept(unseen(6)))
    exhaust(again.train())
    assert again.learner.steps > steps
    assert len(again.record.images) == 7


def test_an_interrupted_version_leaves_nothing_behind(
    adapted: AdaptationSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = AdaptationFolder(tmp_path)
    with folder.writing():
        adapted.save(folder)
        before = sorted(folder.path.rglob("*"))

        def fail(*arguments: Any) -> None:
            save_model(*arguments)
            raise OutputError("The disk is full. Free some space.")

        monkeypatch.setattr("latentfm_core.adaptation.storing.save_model", fail)
        with pytest.raises(OutputError, match="disk is full"):
            adapted.save(folder)
        assert sorted(folder.path.rglob("*")) == before
    assert folder.in_use(adapted.parent_card.weights_sha256) is not None


def test_images_like_the_accepted_ones_get_a_lower_domain_score(
    promptable_model_folder: Path, tmp_path: Path
) -> None:
    parent = copy_model(promptable_model_folder, tmp_path / "parent")
    card, plain = read_card(parent), Segmenter.load(parent, "cpu")
    rng = np.random.default_rng(5)
    features = np.stack([plain.mean_features(to_rgb(two_discs(rng)[0])) for _ in range(80)])
    domain = fit_domain([features[:50]], features[50:], card.config.data.size, 50, 30)
    write_domain(parent, domain, card.weights_sha256)
    session = AdaptationSession(parent, QUICK)
    for number in range(4):
        exhaust(session.accept(unseen(number)))
    folder = AdaptationFolder(tmp_path)
    with folder.writing():
        session.save(folder)
    adapted = Segmenter.load(folder.model(1), "cpu")

    def scores(segmenter: Segmenter) -> NDArray[np.float64]:
        found = [segmenter.domain_score(image) for image in (*others, noise)]
        return np.array(found, np.float64)

    others = [unseen(number).image for number in range(100, 105)]
    noise = ImageInput(rng.integers(0, 256, (64, 64, 3), np.uint8))
    before, after = scores(session.present), scores(adapted)
    assert (before > 1).all()
    assert (after[:-1] < before[:-1] / 3).all()
    assert after[-1] > 2 * after[:-1].max(), "noise is not like the accepted images"
    # Continued in another session, whose accepted images are read again.
    again = AdaptationSession(parent, QUICK)
    assert again.load(folder)
    for number in range(4):
        exhaust(again.restore(unseen(number)))
    with folder.writing():
        again.save(folder)
    restored = Segmenter.load(folder.model(2), "cpu")
    assert restored.domain_score(others[0]) == adapted.domain_score(others[0])
    # An inverted image is like the training images.
    pixels = 255 - unseen(4).image.pixels
    exhaust(again.accept(replace(unseen(4), image=ImageInput(pixels, name="4.png"))))
    assert [test.in_domain for test in again.record.tests] == [False, False, False, True]


def test_expected_dice_follows_the_held_out_dice(adapted: AdaptationSession) -> None:
    pairs = [(0.95, 0.5), (0.9, 0.7), (0.99, 0.6)]
    quality = shifted_quality(pairs)
    assert quality is not None
    expected = [quality(agreement) for agreement, _ in pairs]
    assert np.mean(expected) == pytest.approx(0.6, abs=1e-3)
    assert expected[1] < expected[0] < expected[2], "the order of images is kept"
    assert shifted_quality([]) is None
    image, centre = unseen(200).image, Prompt(positive=((32.0, 32.0),))
    for prompt in (None, centre):
        samples = adapted.adapted.sample(image, prompt=prompt)
        assert adapted.adapted.summarise(samples).calibrated


def test_undo_returns_to_the_original_model(promptable_model_folder: Path) -> None:
    session = AdaptationSession(promptable_model_folder, QUICK)
    exhaust(session.accept(unseen(0)))
    exhaust(session.train())
    image = unseen(200).image
    original = session.present.sample(image, FEW).probabilities
    assert not np.array_equal(session.adapted.sample(image, FEW).probabilities, original)
    session.undo()
    assert np.array_equal(session.adapted.sample(image, FEW).probabilities, original)
    assert not session.record.images
    assert not session.comparison.used


def test_accepting_an_image_again_replaces_its_labels_and_is_not_a_test(
    promptable_model_folder: Path,
) -> None:
    session = AdaptationSession(promptable_model_folder, QUICK)
    item = unseen(0)
    exhaust(session.accept(item))
    changed = AcceptedImage(item.image, np.roll(item.labels, 3, axis=0), item.file)
    exhaust(session.accept(changed))
    assert len(session.record.images) == 1
    assert not session.record.tests
    due = session.due
    exhaust(session.accept(changed))
    assert session.due == due, "nothing new was accepted"


def test_an_image_without_objects_can_be_trained_on(promptable_model_folder: Path) -> None:
    session = AdaptationSession(promptable_model_folder, QUICK)
    exhaust(session.accept(unseen(0)))
    item = unseen(1)
    exhaust(session.accept(AcceptedImage(item.image, np.zeros_like(item.labels), item.file)))
    exhaust(session.train())
    assert session.record.tests[0].present_box is None


def test_a_model_without_prompts_is_refused(tiny_model_folder: Path) -> None:
    with pytest.raises(ConfigError, match="does not take prompts"):
        AdaptationSession(tiny_model_folder, QUICK)


def outcome(gain: float, box: float = 0.0, in_domain: bool = False) -> HeldOutTest:
    return HeldOutTest(
        image="a.png",
        learned=1,
        present=0.5,
        adapted=0.5 + gain,
        present_box=0.8,
        adapted_box=0.8 + box,
        in_domain=in_domain,
    )


@pytest.mark.parametrize(
    ("gains", "used"),
    [
        ([(0.1, 0.0)] * 3, False),  # too few tests
        ([(0.1, 0.0)] * 4, True),
        ([(0.01, 0.0)] * 4, False),  # half of it is below the margin
        ([(0.3, 0.0), (-0.3, 0.0), (0.2, 0.0), (-0.2, 0.0)], False),  # no gain on average
        ([(0.0, 0.0), (0.4, 0.0), (0.0, 0.0), (-0.1, 0.0)], True),  # one image gains
        ([(0.4, 0.0)] * 2 + [(0.0, 0.0)] * 6, True),  # eight tests count
        ([(0.1, -0.02)] * 4, False),  # worse with a box
        ([(0.1, 0.2)] * 3 + [(0.1, -0.05)], True),  # 1.0 with a box is as good as 0.9
        ([(-0.3, 0.0)] * 10 + [(0.1, 0.0)] * 20, True),  # only the later half counts
        ([(0.1, 0.0)] * 20 + [(-0.3, 0.0)] * 10, False),
    ],
)
def test_the_adapted_model_is_used_only_with_a_gain(
    gains: list[tuple[float, float]], used: bool
) -> None:
    tests = [outcome(none, box) for none, box in gains]
    assert compare(tests, AdaptationConfig()).used is used


def test_images_like_the_training_images_need_a_significant_gain() -> None:
    def used(gains: list[float], in_domain: int) -> bool:
        tests = [outcome(gain, in_domain=n < in_domain) for n, gain in enumerate(gains)]
        return compare(tests, AdaptationConfig()).used

    by_one_image = [0.4, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert used(by_one_image, in_domain=3)
    assert not used(by_one_image, in_domain=4)
    assert used([0.1, 0.12, 0.08, 0.1, 0.11, 0.09], in_domain=6)
    assert not used([0.01] * 6, in_domain=6), "the margin applies too"


def test_the_minimum_may_exceed_the_number_of_recent_tests() -> None:
    config = AdaptationConfig(fewest=12)
    assert not compare([outcome(0.1)] * 11, config).used
    assert compare([outcome(0.1)] * 12, config).used


def test_the_number_of_recent_tests_is_a_setting() -> None:
    tests = [outcome(-0.3)] * 4 + [outcome(0.1)] * 4
    assert compare(tests, AdaptationConfig(recent=4)).used
    assert not compare(tests, AdaptationConfig(recent=8)).used


def test_features_stay_within_their_limit() -> None:
    import torch

    mask: NDArray[np.bool_] = np.zeros((8, 8), bool)
    view = View((torch.zeros(4, 8, 8, dtype=torch.float16),), mask, mask, False)
    store = ViewStore(6 * view.nbytes)
    for name in "abc":
        for _ in range(4):
            store.add(name, view)
    assert len(store) == 3
    assert store.nbytes == 6 * view.nbytes
    for name in "defgh":
        store.add(name, view)
    assert store.nbytes <= 6 * view.nbytes
    assert "h" in store
    assert "a" not in store


class Listed:
    """A folder of images with accepted annotations, and an adaptation in a thread."""

    def __init__(self, root: Path, model: Path, count: int = 5) -> None:
        self.images, self.output = root / "images", root / "out"
        self.images.mkdir(parents=True)
        self.output.mkdir()
        for number in range(count):
            item = unseen(number)
            imsave(self.images / item.image.name, item.image.pixels, check_contrast=False)
            write_labels_file(self.output / item.file, item.labels, Space("YX"))
        self.start = Start(model=str(model), images=self.images, output=self.output, config=QUICK)
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def emit(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, wanted: Callable[[Event], bool]) -> Event:
        """Return the first event of a wanted type."""
        with self._changed:
            self._changed.wait_for(lambda: any(map(wanted, self.events)), PATIENCE)
            return next(filter(wanted, self.events))


def has_learned(count: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Adapted) and event.images == count


def test_the_loop_trains_pauses_undoes_and_stops(
    promptable_model_folder: Path, tmp_path: Path
) -> None:
    listed, inbox = Listed(tmp_path, promptable_model_folder), Inbox()
    thread = threading.Thread(target=run, args=(listed.start, inbox, listed.emit))
    thread.start()
    try:
        listed.wait(has_learned(0))
        for number in range(5):
            inbox.put(Accept(name=f"{number}.png", file=f"{number}.tif"))
        listed.wait(has_learned(5))
        folder = AdaptationFolder(listed.output)
        with pytest.raises(FolderBusy), folder.writing():
            pass
        inbox.put(Accept(name="gone.png", file="gone.tif"))
        assert isinstance(listed.wait(lambda e: isinstance(e, Skipped)), Skipped)
        record = folder.read()
        assert [image.name for image in record.images] == [f"{n}.png" for n in range(5)]
        listed.events.clear()
        inbox.put(Pause(paused=True))
        inbox.put(Undo())
        inbox.put(Pause(paused=False))
        listed.wait(has_learned(0))
        assert folder.in_use(record.parent_sha256) is None
        assert not folder.read().images
    finally:
        inbox.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_end_does_not_wait_for_images_of_an_earlier_session(tmp_path: Path) -> None:
    listed, inbox = Listed(tmp_path, tmp_path / "model"), Inbox()
    restored: list[str] = []

    class Session:
        record = AdaptationRecord(
            images=tuple(
                LearnedImage(name=f"{n}.png", file=f"{n}.tif", fingerprint="", labels="")
                for n in range(5)
            )
        )

        def restore(self, accepted: AcceptedImage) -> Iterator[None]:
            restored.append(accepted.image.name)
            inbox.stop()
            yield

    folder = AdaptationFolder(listed.output)
    loop = _Loop(listed.start, cast(AdaptationSession, Session()), folder, inbox, listed.emit)
    loop._restore()
    assert restored == ["4.png"]


def test_the_process_works_until_its_input_ends(
    promptable_model_folder: Path, tmp_path: Path
) -> None:
    listed = Listed(tmp_path, promptable_model_folder, 2)
    command = [sys.executable, "-m", "latentfm_core.adaptation.worker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(listed.start.to_line() + "\n")
        process.stdin.write(Accept(name="0.png", file="0.tif").to_line() + "\n")
        process.stdin.flush()
        seen: list[Event] = []
        for line in process.stdout:
            seen.append(event_from(line))
            if isinstance(seen[-1], Working):
                break
        process.stdin.close()
        rest = [event_from(line) for line in process.stdout]
        assert process.wait(PATIENCE) == 0
    assert not any(isinstance(event, Failed) for event in [*seen, *rest])


def test_an_adapted_model_can_be_kept(adapted: AdaptationSession, tmp_path: Path) -> None:
    folder = AdaptationFolder(tmp_path)
    with folder.writing():
        adapted.save(folder)
    target = tmp_path / "mine"
    keep_as_model(folder, target)
    kept = Segmenter.load(target, "cpu")
    assert kept.card.id.endswith("-adapted-6")
    with pytest.raises(OutputError, match="already exists"):
        keep_as_model(folder, target)
    folder.discard()
    assert dice_without_prompt(kept, range(100, 102)) > 0.3
