"""Fine-tuning on a few corrected images: gain, preserved settings and refused input."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread, imsave

from latentfm_core.cli.train import main
from latentfm_core.config import DataConfig, with_overrides
from latentfm_core.datasets.pair_reading import read_binary
from latentfm_core.datasets.pairs import find_pairs
from latentfm_core.errors import CheckpointError, ConfigError, DatasetError, OutputError
from latentfm_core.evaluation.evaluate import Case, evaluate
from latentfm_core.finetuning.compare import held_out_dice, held_out_pairs
from latentfm_core.finetuning.finetune import FineTune
from latentfm_core.finetuning.messages import Step, Validated, Verdict, event_from
from latentfm_core.finetuning.recipe import finetune_config, held_out_fraction
from latentfm_core.finetuning.request import LearningRequest
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.card import read_card
from latentfm_core.model_io.folder import file_sha256
from latentfm_core.training.options import RunOptions
from latentfm_core.worklist.classes import add_classes
from latentfm_core.worklist.state import WorkList
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, copy_model, write_blobs
from tests.helpers.prompting import write_discs
from tests.helpers.training_runs import StopAfter

QUICK = (
    "training.precision=fp32",
    "training.flow.epochs=30",
    "training.flow.small_epochs=0",
    "training.flow.validate_every=10",
    "training.flow.learning_rate=0.003",
    "training.flow.noise_draws=2",
    "training.validation_samples=2",
    "sampling.n_samples=2",
    "sampling.steps=2",
)


def write_shifted(folder: Path, count: int, n_masks: int, seed: int = 5) -> Folders:
    """Write bright blobs on a dark background, which the tiny model has not seen."""
    images, masks = write_blobs(folder, count, seed)
    for path in images.iterdir():
        imsave(path, 255 - imread(path), check_contrast=False)
    for path in sorted(masks.iterdir())[n_masks:]:
        path.unlink()
    return images, masks


def learning(model: Path, images: Path, masks: Path, out: Path, **options: object) -> FineTune:
    request = LearningRequest(
        out=out, model=str(model), images=images, masks=masks, overrides=QUICK, device="cpu"
    )
    return FineTune(request.config(), RunOptions(out, init=str(model), **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return write_shifted(tmp_path_factory.mktemp("shifted"), 24, 12)


def dice_on_others(model: Path, folder: Path) -> float:
    images, masks = write_shifted(folder, 10, 10, seed=77)
    segmenter = Segmenter.load(model, "cpu")
    cases = (Case(p.image, p.masks) for p in map(read_binary, find_pairs(images, masks)))
    settings = segmenter.card.config.sampling.model_copy(update={"n_samples": 2, "steps": 2})
    return evaluate(segmenter, cases, settings).mean("dice")


@dataclass(frozen=True)
class Learned:
    """A run over `shifted`, and what its source was before."""

    source: Path
    before: dict[str, str]
    out: Path
    verdict: Verdict | None
    events: list[object]


@pytest.fixture(scope="module")
def learned(
    tiny_model_folder: Path, shifted: Folders, tmp_path_factory: pytest.TempPathFactory
) -> Learned:
    folder, events = tmp_path_factory.mktemp("learned"), []
    source = copy_model(tiny_model_folder, folder / "source")
    before = {path.name: file_sha256(path) for path in source.iterdir()}
    request = LearningRequest(
        out=folder / "new",
        model=str(source),
        images=shifted[0],
        masks=shifted[1],
        overrides=QUICK,
        device="cpu",
    )
    run = FineTune(request.config(), RunOptions(request.out, init=str(source)), events.append)
    return Learned(source, before, request.out, run.run(), events)


def test_training_improves_unseen_images_and_keeps_the_source(
    learned: Learned, tmp_path: Path
) -> None:
    verdict = learned.verdict
    assert isinstance(verdict, Verdict)
    assert verdict.n_held_out == 3
    assert verdict.better == "new"
    old = dice_on_others(learned.source, tmp_path / "a")
    new = dice_on_others(learned.out, tmp_path / "b")
    assert new > old + 0.2
    assert {path.name: file_sha256(path) for path in learned.source.iterdir()} == learned.before
    card = read_card(learned.out)
    assert card.parent is not None
    assert (card.parent.id, card.parent.sha256) == ("tiny", learned.before["model.safetensors"])
    assert card.parent.n_images == 9
    assert card.calibration is None
    assert card.metrics["val_parent_dice"] == pytest.approx(verdict.old)
    assert "calibration" in card.description
    steps = [event for event in learned.events if isinstance(event, Step)]
    assert [step.step for step in steps] == list(range(1, steps[-1].total + 1))
    assert steps[-1].seconds_left == 0
    checks = [event for event in learned.events if isinstance(event, Validated)]
    assert (checks[0].step, checks[0].dice) == (0, pytest.approx(verdict.old))
    assert len(checks) == 4


def test_vaes_and_latent_scale_are_unchanged(learned: Learned) -> None:
    from safetensors.torch import load_file

    old = load_file(learned.source / "model.safetensors")
    new = load_file(learned.out / "model.safetensors")
    kept = [name for name in old if name.startswith(("mask_vae", "latent_"))]
    assert kept
    assert all(bool((old[name] == new[name]).all()) for name in kept)
    assert any(bool((old[name] != new[name]).any()) for name in old)


def test_verdict_keeps_the_old_model_when_the_masks_are_garbage(
    tiny_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    images, masks = blob_folders
    mine = tmp_path / "masks"
    mine.mkdir()
    for path in sorted(masks.iterdir())[:12]:
        shutil.copy(path, mine)
    config = finetune_config(read_card(tiny_model_folder), DataConfig(images=images, masks=mine))
    config = with_overrides(config, [*QUICK, "training.device=cpu"])
    options = RunOptions(tmp_path / "new", init=str(tiny_model_folder))
    held_out = set(FineTune(config, options).trainer.state.data.split.val)
    for path in mine.iterdir():
        if path.stem not in held_out:
            imsave(path, 255 - imread(path), check_contrast=False)
    verdict = FineTune(config, options).run()
    assert verdict is not None
    assert verdict.old is not None
    assert verdict.new is not None
    assert verdict.better == "old"
    assert "The new model is not better" in caplog.text
    assert (tmp_path / "new" / "model.json").is_file(), "written either way"


def test_a_stopped_run_resumes_to_the_same_model_or_finishes_early(
    tiny_model_folder: Path, shifted: Folders, learned: Learned, tmp_path: Path
) -> None:
    out = tmp_path / "parts"
    assert learning(tiny_model_folder, *shifted, out, should_stop=StopAfter(20)).run() is None
    assert not (out / "model.json").exists()
    early = FineTune(None, RunOptions(out, resume=True)).finish()
    assert early is not None
    assert Segmenter.load(out, "cpu").card.parent is not None
    verdict = FineTune(None, RunOptions(out, resume=True)).run()
    assert verdict is not None
    assert file_sha256(out / "model.safetensors") == file_sha256(learned.out / "model.safetensors")


def test_command_equals_python(
    tiny_model_folder: Path, shifted: Folders, learned: Learned, tmp_path: Path
) -> None:
    words = ["--init", tiny_model_folder, "--preset", "finetune", "--images", shifted[0]]
    words += ["--masks", shifted[1], "--out", tmp_path / "a", "--device", "cpu"]
    for item in QUICK:
        words += ["--set", item]
    assert main(list(map(str, words))) == 0
    folders = tmp_path / "a", learned.out
    files = [folder / "model.safetensors" for folder in folders]
    assert file_sha256(files[0]) == file_sha256(files[1])
    verdicts = [json.loads((out / "training/verdict.json").read_text()) for out in folders]
    assert verdicts[0] == verdicts[1]


def test_a_file_can_name_the_preset(
    tiny_model_folder: Path,
    shifted: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Printed,
) -> None:
    file, dumped = tmp_path / "own.toml", []
    words = ["--init", tiny_model_folder, "--images", shifted[0], "--masks", shifted[1]]
    words = [*map(str, words), "--dump-config"]
    for name in ("finetune", "distill"):
        settings = "[training.flow]\nepochs = 31\n[data]\nsplit_seed = 3\n"
        file.write_text(f'preset = "{name}"\n{settings}')
        own = ["--set", "training.flow.epochs=31", "--set", "data.split_seed=3"]
        for given in (["--config", str(file)], ["--preset", name, *own]):
            assert main([*words, *given]) == 0
            dumped.append(capsys.readouterr().out)
        assert dumped[-1] == dumped[-2]
    assert "add --init MODEL" in refused(main, ["--config", str(file), *words[2:]])
    file.write_text('preset = "finetune"\n[training.flow]\nepochs = 2\n')
    words[-1:] = ["--config", str(file), "--out", str(tmp_path / "m"), "--device", "cpu"]
    assert main([*words, "--folds", "2"]) == 2
    assert "leave --folds out" in capsys.readouterr().err
    assert main(words) == 0
    assert (tmp_path / "m" / "training" / "verdict.json").is_file(), "compared with its parent"


@pytest.mark.parametrize(
    ("count", "held_out"), [(1, 0), (7, 0), (8, 3), (14, 3), (20, 4), (50, 10)]
)
def test_held_out_part(count: int, held_out: int) -> None:
    from latentfm_core.datasets.splits import make_split

    config = DataConfig(val_fraction=held_out_fraction(count, 0.2), test_fraction=0.0)
    split = make_split([f"image_{i}" for i in range(count)], config)
    assert (len(split.train), len(split.val)) == (count - held_out, held_out)


def test_existing_models_are_not_overwritten(
    tiny_model_folder: Path, shifted: Folders, tmp_path: Path
) -> None:
    other = copy_model(tiny_model_folder, tmp_path / "other")
    for out in (other, tiny_model_folder):
        with pytest.raises(OutputError, match="another name"):
            learning(tiny_model_folder, *shifted, out)
    with pytest.raises(CheckpointError, match="no fine-tuning run"):
        FineTune(None, RunOptions(tmp_path / "none", resume=True))


def test_errors_say_what_to_do(tiny_model_folder: Path, shifted: Folders, tmp_path: Path) -> None:
    card = read_card(tiny_model_folder)
    with pytest.raises(ConfigError, match="No training data given"):
        finetune_config(card, DataConfig())
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DatasetError):
        finetune_config(card, DataConfig(images=shifted[0], masks=empty))
    arguments = ["--preset", "finetune", "--out", str(tmp_path / "x")]
    assert main(arguments) == 2


def test_numbered_objects_of_a_work_list_are_learned(
    tiny_model_folder: Path, promptable_model_folder: Path, tmp_path: Path
) -> None:
    images, masks = write_discs(tmp_path, 9, seed=4)
    work = WorkList(images, masks)
    work.update("discs_000.png", state="completed")
    one_object = imread(masks / "discs_000.png")
    one_object[one_object == 1] = 0
    imsave(masks / "discs_000.png", one_object, check_contrast=False)

    def run_of(model: Path) -> FineTune:
        return learning(model, images, masks, tmp_path / model.name)

    with_prompts = run_of(promptable_model_folder).trainer.state.data.train.images
    kinds = {image.name: image.kind for image in with_prompts}
    assert {kind for name, kind in kinds.items() if name != "discs_000"} == {"instances"}
    assert kinds.get("discs_000", "masks") == "masks", "a single label is foreground"
    run = run_of(tiny_model_folder)
    train = run.trainer.state.data.train
    assert set(np.unique(train.masks)) == {0, 1}
    several = next(at for at, name in enumerate(train.names) if name != "discs_000")
    left, right = np.split(train.masks[several, 0], 2, axis=1)
    assert left.any()
    assert right.any()
    config = run.trainer.state.config
    held_out = held_out_pairs(config, run.trainer.state.data.split.val)
    assert len(held_out_dice(tiny_model_folder, held_out, config)) == 3
    # Labels with names of their own are classes, not objects.
    add_classes(work.output, {2: "object"})
    run_of(tiny_model_folder)
    add_classes(work.output, {2: "hair"})
    with pytest.raises(ConfigError, match="have several classes: 1 object, 2 hair"):
        run_of(tiny_model_folder)


def test_masks_of_other_images_are_refused(shifted: Folders, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    imsave(masks / "stranger.png", np.zeros((64, 64), np.uint8), check_contrast=False)
    with pytest.raises(DatasetError, match="stranger"):
        find_pairs(shifted[0], masks, skip_unmasked=True)


def test_events_survive_a_round_trip() -> None:
    for event in (
        Step(step=1, total=2, loss=0.5, seconds=3.0, seconds_left=math.inf),
        Validated(step=3, dice=0.25),
        Verdict(old=None, new=None, n_held_out=0, n_better=0),
    ):
        assert event_from(event.to_line()) == event
    for line in ("[]", "{}", '{"kind": "step"}', "noise"):
        with pytest.raises(ValueError, match="validation error"):
            event_from(line)
