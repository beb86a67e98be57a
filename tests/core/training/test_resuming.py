"""A resumed run: kept state, refused changes, and card."""

from __future__ import annotations

import json
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from skimage.io import imread, imsave

from latentfm_core.cli.train import main
from latentfm_core.datasets.splits import read_split
from latentfm_core.model_io.card import read_card
from latentfm_core.training.checkpoint import read_checkpoint
from latentfm_core.training.trainer import RunOptions, Trainer
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, write_blobs
from tests.helpers.format_1 import rename_as_format_1
from tests.helpers.pages import LOG, read_table
from tests.helpers.processes import wait_for
from tests.helpers.training_runs import StopAfter, config_of, start, words


@pytest.fixture
def images(tmp_path: Path) -> Folders:
    return write_blobs(tmp_path / "data", 12)


@pytest.fixture
def stopped(images: Folders, tmp_path: Path) -> Path:
    """A run that was stopped in its flow."""
    out = tmp_path / "model"
    config = config_of(images, out)
    options = RunOptions(out, should_stop=StopAfter(1), command="latentfm-train the first")
    assert Trainer(config, options).run() is None
    assert read_checkpoint(out / "training").position.stage == "flow"
    return out


def resume(out: Path, *more: object) -> int:
    return main(["--out", str(out), "--resume", *map(str, more)])


def parts(out: Path) -> dict[str, Any]:
    return json.loads((out / "training" / "split.json").read_text())


def names_in(split: dict[str, Any]) -> set[str]:
    return {name for names in split.values() for name in names}


def add_image(folders: Folders) -> None:
    # Its name comes first, so that the parts would be drawn in another order.
    for folder in folders:
        shutil.copy(folder / "blob_003.png", folder / "a_new_one.png")


def remove_image(folders: Folders, name: str = "blob_004") -> None:
    for folder in folders:
        (folder / f"{name}.png").unlink()


def change_image(folders: Folders) -> None:
    for path in sorted(folders[0].iterdir()):
        imsave(path, 255 - imread(path), check_contrast=False)


def change_mask(folders: Folders) -> None:
    for path in sorted(folders[1].iterdir()):
        imsave(path, np.roll(imread(path), 9, axis=0), check_contrast=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add_image, "1 was added (a_new_one)"),
        (remove_image, "1 is missing (blob_004)"),
        (change_image, "images or their masks have changed"),
        (change_mask, "images or their masks have changed"),
    ],
)
def test_changed_data_is_refused_unless_the_split_is_kept(
    images: Folders,
    stopped: Path,
    refused: Printed,
    change: Callable[[Folders], None],
    message: str,
) -> None:
    before = parts(stopped)
    change(images)
    said = refused(resume, stopped)
    assert message in said
    assert "--changed-data" in said
    assert parts(stopped) == before
    assert resume(stopped, "--changed-data", "keep", "--quiet") == 0
    gone = {"blob_004"} if change is remove_image else set()
    kept = {part: [name for name in names if name not in gone] for part, names in before.items()}
    assert parts(stopped) == kept, "no image has moved, and none was added"
    assert read_card(stopped).data.n_train == len(kept["train"])


def test_a_run_is_not_resumed_on_other_images(
    stopped: Path, tmp_path: Path, refused: Printed
) -> None:
    other = write_blobs(tmp_path / "other", 12, seed=1)  # under the same names
    said = refused(resume, stopped, "--images", other[0], "--masks", other[1])
    assert "have changed since the run began" in said
    assert "For other images, start a new run with another --out" in said


def test_a_new_split_needs_an_option_and_training_images_are_remembered(
    images: Folders, stopped: Path
) -> None:
    before = parts(stopped)
    add_image(images)
    seed = ("--set", "data.split_seed=5")
    assert resume(stopped, *seed) == 2
    assert resume(stopped, "--changed-data", "redraw", *seed, "--quiet") == 0
    now = parts(stopped)
    names, older = ({name for part in each.values() for name in part} for each in (now, before))
    assert names == {*older, "a_new_one"}
    moved = set(before["train"]) - set(now["train"])
    assert moved, "this seed moves some"
    seen = json.loads((stopped / "training" / "trained_on.json").read_text())
    assert set(seen) == moved
    signatures = json.loads((stopped / "training" / "images.json").read_text())
    assert set(signatures) == {*now["train"], *moved}


def test_other_fractions_of_a_resumed_run_are_refused(
    stopped: Path, capsys: pytest.CaptureFixture[str], refused: Printed
) -> None:
    assert resume(stopped, "--set", "data.test_fraction=0") == 2
    assert "data.test_fraction would change them" in capsys.readouterr().err
    assert "data.size would change that" in refused(resume, stopped, "--set", "data.size=96")


def test_moved_images_are_recognised(images: Folders, stopped: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    images[0].parent.rename(moved)
    own = ("--images", moved / "images", "--masks", moved / "masks")
    assert resume(stopped, *own, "--quiet") == 0


def test_the_card_of_an_interrupted_run_covers_all_its_parts(
    images: Folders, stopped: Path, printed: Printed, refused: Printed
) -> None:
    assert resume(stopped, "--set", "training.flow.epochs=5") == 0
    card = read_card(stopped)
    commands = card.training.command.splitlines()
    assert commands[0] == "latentfm-train the first"
    assert commands[1].endswith("--resume --set training.flow.epochs=5")
    assert card.training.epochs == {"image_vae": 1, "mask_vae": 1, "flow": 5}
    assert card.config.training.flow.epochs == 5
    split = read_split(stopped / "training" / "split.json")
    found = (card.data.n_train, card.data.n_val, card.data.n_test)
    assert found == (len(split.train), len(split.val), len(split.test))
    # A finished run is not trained further, and its card does not claim that it was.
    before = (stopped / "model.json").read_bytes()
    said = refused(resume, stopped, "--set", "training.mask_vae.epochs=50")
    assert "The run is finished, and training.mask_vae.epochs would change" in said
    assert "nothing to do" in printed(resume, stopped)
    assert (stopped / "model.json").read_bytes() == before
    # As the message advises.
    further = stopped.parent / "further"
    vaes = [f"--set=training.{name}.epochs=0" for name in ("image_vae", "mask_vae")]
    more = (*vaes, "--set=training.flow.epochs=1", "--quiet")
    assert main(words(images, further, "--init", stopped, *more)) == 0


def test_a_resumed_run_keeps_the_card_and_the_initial_model_of_its_start(
    images: Folders, tmp_path: Path, refused: Printed
) -> None:
    parent, out = tmp_path / "parent", tmp_path / "model"
    config = config_of(images, parent)
    assert Trainer(config, RunOptions(parent)).run() is not None
    vaes = ("training.image_vae.epochs=0", "training.mask_vae.epochs=0")
    kept = config_of(images, parent, *vaes)
    card = {"title": "Blobs", "licence": "CC0-1.0", "data": {"name": "discs"}}
    options = RunOptions(out, should_stop=StopAfter(1), card=card, init=str(parent))
    assert Trainer(kept, options).run() is None
    shutil.rmtree(parent)  # the checkpoint holds all that the end needs

    assert f"started from the model {parent}" in refused(resume, out, "--init", "isic2018")
    assert resume(out, "--quiet") == 0

    written = read_card(out)
    assert (written.title, written.licence, written.data.name) == ("Blobs", "CC0-1.0", "discs")
    run = read_checkpoint(out / "training").run
    assert run is not None
    assert run.init == str(parent)


def test_settings_of_finished_stages_cannot_be_changed(
    stopped: Path, capsys: pytest.CaptureFixture[str], refused: Printed
) -> None:
    said = refused(resume, stopped, "--set", "training.mask_vae.epochs=9")
    assert "The run is at stage flow, and training.mask_vae.epochs would change" in said
    for setting in ("kl_weight=5", "augmentation=flips", "gradient_clip=3", "seed=77"):
        said = refused(resume, stopped, "--set", f"training.{setting}")
        assert f"training.{setting.partition('=')[0]} would change a finished stage" in said
    assert resume(stopped, "--set", "model.vae_width=24") == 2
    assert "The network of a run cannot be changed" in capsys.readouterr().err


def test_a_shortened_run_is_validated_at_its_end(images: Folders, tmp_path: Path) -> None:
    out, late = tmp_path / "model", "training.flow.validate_every=9"
    config = config_of(images, out, late, "training.flow.epochs=9")
    # The steps of the VAEs, and an epoch of the flow.
    assert Trainer(config, RunOptions(out, should_stop=StopAfter(6))).run() is None
    position = read_checkpoint(out / "training").position
    assert (position.stage, position.best_score) == ("flow", -np.inf)
    assert position.step >= 2
    shorter = config_of(images, out, late, "training.flow.epochs=1")
    stop = RunOptions(out, resume=True, should_stop=lambda: True)
    assert Trainer(shorter, stop).run() is None, "stopped before the validation"
    assert Trainer(shorter, RunOptions(out, resume=True)).run() is not None
    assert read_card(out).metrics["val_dice"] >= 0


def as_if_from(folder: Path, **data: object) -> None:
    """Change the description of the data in the checkpoint, as for another user."""
    file = folder / "training" / "checkpoint.safetensors"
    with safe_open(file, "pt") as stream:
        header = stream.metadata()
    config = json.loads(header["config"])
    config["data"] |= data
    save_file(load_file(file), file, {**header, "config": json.dumps(config)})


def test_paths_in_an_untrusted_run_are_not_followed(
    images: Folders, stopped: Path, tmp_path: Path, refused: Printed
) -> None:
    trap = tmp_path / "trap"
    as_if_from(stopped, cache=str(trap))
    said = refused(resume, stopped)
    assert f"decoded images would be written to {trap}" in said
    assert "--trust-paths" in said
    own = ("--images", images[0], "--masks", images[1], "--quiet")
    assert resume(stopped, *own) == 0
    assert not trap.exists()


def test_paths_of_sets_in_an_untrusted_run_are_not_followed(
    images: Folders, stopped: Path, refused: Printed
) -> None:
    one = {"name": "a", "images": str(images[0]), "masks": str(images[1]), "split_file": "s.json"}
    as_if_from(stopped, images=None, masks=None, sets=[one])
    for named in ((), ("--images", images[0], "--masks", images[1])):
        said = refused(resume, stopped, *named)
        assert f"it names other folders: {images[0]}, {images[1]}, s.json. If" in said
        assert said.endswith("add --trust-paths.\n")


def test_trust_paths_follows_them(stopped: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    as_if_from(stopped, cache=str(cache))
    assert resume(stopped, "--trust-paths", "--quiet") == 0
    assert list(cache.glob("*.canvas"))


def test_copied_runs_and_those_of_other_users_are_untrusted(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Printed
) -> None:
    copied = shutil.copytree(stopped, tmp_path / "copied")
    assert "--trust-paths" in refused(resume, copied)
    monkeypatch.setenv("NAPARI_LATENTFM_HOME", str(tmp_path / "another user"))
    assert "--trust-paths" in refused(resume, stopped)


def _within(name: str) -> Callable[[], bool]:
    """Return a request for a stop that is made while a function of this name runs."""
    return lambda: any(frame.name == name for frame in traceback.extract_stack())


def test_interrupting_a_step_or_the_end_of_a_stage_loses_nothing(
    images: Folders, tmp_path: Path
) -> None:
    config, never = config_of(images, tmp_path), StopAfter(10**9)
    whole, out = tmp_path / "whole", tmp_path / "parts"
    assert Trainer(config, RunOptions(whole, urgent=never)).run() is not None
    asked, stages = 10**9 - never.left, []
    parts = [_within("backward"), *map(StopAfter, (1, 2, asked // 4, 1, asked // 4, asked // 9, 2))]
    for number, urgent in enumerate(parts):
        options = RunOptions(out, resume=number > 0, urgent=urgent)
        assert Trainer(config, options).run() is None
        position = read_checkpoint(out / "training").position
        stages.append((position.stage, position.step))
    assert stages == sorted(stages, key=lambda each: ("imf".index(each[0][0]), each[1]))
    assert stages[0] == ("image_vae", 0), "given up within its very first step"
    assert len({stage for stage, _ in stages}) > 1
    for _ in range(2):
        options = RunOptions(out, resume=True, should_stop=_within("validate_epoch"))
        assert Trainer(config, options).run() is None
    assert Trainer(config, RunOptions(out, resume=True)).run() is not None
    assert read_card(out).weights_sha256 == read_card(whole).weights_sha256
    logged = ("stage", "epoch", "step", "loss", "learning_rate", "val_dice")
    rows, others = (read_table(folder, LOG) for folder in (out, whole))
    assert [[row[key] for key in logged] for row in rows] == [
        [row[key] for key in logged] for row in others
    ]


def test_a_stop_before_the_first_validation_leaves_its_time_unknown(
    images: Folders, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    config = config_of(images, out, "training.minutes=1")
    stop = RunOptions(out, should_stop=_within("plan_validation"))
    assert Trainer(config, stop).run() is None
    position = read_checkpoint(out / "training").position
    assert (position.stage, position.step, position.validation_seconds) == ("flow", 0, 0)
    resumed = Trainer(config, RunOptions(out, resume=True))
    assert resumed.run() is not None
    assert resumed.state.position.validation_seconds > 0


def test_nan_weights_count_as_damage(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stopped / "training" / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start : start + 4000] = b"\xff" * 4000
    path.write_bytes(content)
    assert resume(stopped) == 2
    assert "is damaged (a weight is not a finite number)" in capsys.readouterr().err


def test_a_checkpoint_of_format_1_is_resumed(
    images: Folders, stopped: Path, tmp_path: Path
) -> None:
    config = config_of(images, tmp_path)
    assert Trainer(config, RunOptions(tmp_path / "whole")).run() is not None
    assert rename_as_format_1(stopped / "training" / "checkpoint.safetensors") > 0
    best = stopped / "training" / "best.safetensors"
    if best.exists():
        rename_as_format_1(best)
    assert Trainer(config, RunOptions(stopped, resume=True)).run() is not None
    assert read_card(stopped).weights_sha256 == read_card(tmp_path / "whole").weights_sha256


def test_ctrl_c_during_reading_ends_the_command(tmp_path: Path) -> None:
    images, masks = write_blobs(tmp_path / "data", 4)
    for folder in (images, masks):
        large = np.kron(imread(folder / "blob_000.png"), np.ones((40, 40), np.uint8)[..., None])
        large = large[..., 0] if folder == masks else large
        for number in range(80):
            path = folder / f"large_{number:02d}.png"
            if number == 0:
                imsave(path, large.astype(np.uint8), check_contrast=False)
            else:
                shutil.copy(folder / "large_00.png", path)
    out, cache = tmp_path / "model", tmp_path / "cache"
    process = start(words((images, masks), out, "--cache", cache))
    wait_for(lambda: bool(list(cache.glob("*.canvas"))), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "interrupted" in errors
    assert len(list(cache.glob("*.canvas"))) < 42, "not all training images were waited for"
    assert not out.exists()
