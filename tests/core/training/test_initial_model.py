"""Runs that start from the weights of a model with other classes or prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latentfm_core.cli.evaluate import main as evaluate
from latentfm_core.cli.train import main
from latentfm_core.datasets.splits import Split, read_split, write_split
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.folder import load_model
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.onehot import one_hot
from latentfm_core.training.initial_model import load_initial
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, copy_model, train
from tests.helpers.prompting import disc_settings, write_discs
from tests.helpers.training_runs import words

QUICK = (
    "training.image_vae.epochs=0",
    "training.mask_vae.epochs=1",
    "training.flow.epochs=1",
    "training.flow.learning_rate=1e-9",
    "data.val_fraction=0.1",
)


@pytest.fixture(scope="module")
def promptable_parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A promptable model of one class that was hardly trained."""
    folder = tmp_path_factory.mktemp("parent")
    values: dict[str, Any] = disc_settings(*write_discs(folder / "data", 8, seed=0))
    for stage in ("image_vae", "mask_vae", "flow"):
        values["training"][stage]["epochs"] = 1
    return train(values, folder / "discs")


def options(folders: Folders, out: Path, init: Path, *sets: str) -> list[str]:
    """Return the arguments of a run that hardly changes the flow that it starts with."""
    given = ["--images", folders[0], "--masks", folders[1], "--out", out, "--init", init]
    given += ["--device", "cpu", *(word for one in (*QUICK, *sets) for word in ("--set", one))]
    return [str(word) for word in given]


def moved(before: Path, after: Path) -> Callable[..., bool]:
    """Return a function that says whether tensors whose names start so have changed."""
    old, new = (load_model(folder)[0].state_dict() for folder in (before, after))

    def changed(*start: str) -> bool:
        names = [name for name in old if name.startswith(start)]
        assert names
        return not all(
            old[name].shape == new[name].shape and torch.allclose(old[name], new[name], atol=2e-3)
            for name in names
        )

    return changed


def test_a_model_of_several_classes_starts_from_a_promptable_one_of_one_class(
    promptable_parent: Path, two_class_folders: Folders, tmp_path: Path, printed: Printed
) -> None:
    out = tmp_path / "two"
    said = printed(
        main, options(two_class_folders, out, promptable_parent, "model.classes=disc,square")
    )
    assert "discs has 1 class (disc), the new model 2 classes (disc, square)" in said
    assert "the new model does not: prompts need a model of one class" in said
    segmenter = Segmenter.load(out, "cpu")
    assert segmenter.card.config.model.classes == ("disc", "square")
    assert not segmenter.card.config.model.prompts
    changed = moved(promptable_parent, out)
    assert not changed("image_vae.pyramid.", "velocity.")
    assert changed("mask_vae.")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.mask_vae.epochs=0", "set training.mask_vae.epochs above 0 (default: 12)"),
        ("model.prompts=true", "Set model.prompts = false"),
    ],
)
def test_settings_that_do_not_fit_several_classes_are_explained(
    setting: str,
    message: str,
    promptable_parent: Path,
    two_class_folders: Folders,
    tmp_path: Path,
    refused: Printed,
) -> None:
    sets = ("model.classes=disc,square", setting)
    given = options(two_class_folders, tmp_path / "m", promptable_parent, *sets)
    assert message in refused(main, given)


@pytest.mark.parametrize("preset", ["finetune", "distill"])
def test_presets_that_keep_the_network_refuse_other_classes(
    preset: str,
    promptable_parent: Path,
    two_class_folders: Folders,
    tmp_path: Path,
    refused: Printed,
) -> None:
    given = options(two_class_folders, tmp_path / "m", promptable_parent)
    given += ["--preset", preset, "--set", "model.classes=disc,square"]
    assert "Leave the preset out: --init alone starts a model" in refused(main, given)


@pytest.mark.parametrize("names", [("square", "disc"), ("Square", "ring")])
def test_reordered_classes_keep_their_weights(
    names: tuple[str, str], coloured_model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parent, card = load_model(coloured_model_folder)
    own = card.config.model.model_copy(update={"classes": names, "class_colours": ()})
    model = LatentFM(own)
    caplog.set_level("INFO")
    load_initial(model, str(coloured_model_folder))
    assert f"{names[0]} from square, {names[1]} from disc" in caplog.text
    labels = torch.randint(0, 3, (2, 64, 64), generator=torch.Generator().manual_seed(0))
    swapped = torch.tensor([0, 2, 1])[labels]
    with torch.no_grad():
        latent = parent.mask_vae.encode(one_hot(labels, 3) * 2 - 1).mean
        same = model.mask_vae.encode(one_hot(swapped, 3) * 2 - 1).mean
        torch.testing.assert_close(same, latent)
        decoded = parent.mask_vae.decode(latent)[:, [0, 2, 1]]
        torch.testing.assert_close(model.mask_vae.decode(latent), decoded)


def test_a_promptable_model_starts_from_one_without_prompts(
    tiny_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    printed: Printed,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "m"
    sets = ("model.prompts=true", "data.split_seed=1")
    said = printed(main, options(blob_folders, out, tiny_model_folder, *sets))
    assert "tiny does not take prompts" in said
    changed = moved(tiny_model_folder, out)
    assert not changed("image_vae.pyramid.", "velocity.")
    # The two runs divide the images differently.
    earlier, split = (
        read_split(run / "training" / "split.json") for run in (tiny_model_folder, out)
    )
    seen = {part: set(getattr(split, part)) & set(earlier.train) for part in ("val", "test")}
    assert all(seen.values())
    text = f"{tiny_model_folder}, from which this run starts, was trained on {len(seen['val'])} of"
    assert f"{text} 4 validation images ({min(seen['val'])}" in said
    assert f"and {len(seen['test'])} of 4 test images ({min(seen['test'])}" in said
    given = ["--images", blob_folders[0], "--masks", blob_folders[1], "--model", out]
    given += ["--samples", 2, "--steps", 1, "--device", "cpu", "--out", tmp_path / "test"]
    assert evaluate([str(word) for word in given]) == 0
    printed_table = capsys.readouterr()
    count = len(seen["test"])
    assert f"(--init), which was trained on {count} of these images" in printed_table.err
    assert f"{count} of these images: the scores are too optimistic" in printed_table.out
    # Also the parent of the parent, whose images may have other names by now.
    grandchild(out, blob_folders, tmp_path, seen["test"], printed)


def grandchild(
    parent: Path, folders: Folders, tmp_path: Path, seen: set[str], printed: Printed
) -> None:
    """Start from `parent`, with images that only its own parent has `seen` as the test part."""
    split = read_split(parent / "training" / "split.json")
    write_split(tmp_path / "own.json", Split(split.train[:8], split.val[:1], tuple(sorted(seen))))
    own = ("--dry-run", "--split", str(tmp_path / "own.json"))
    given = [*options(folders, tmp_path / "next", parent, "model.prompts=true"), *own]
    said = printed(main, given)
    assert f"{len(seen)} of {len(seen)} test images ({min(seen)}" in said
    bare = copy_model(parent, tmp_path / "bare")
    given[given.index(str(parent))] = str(bare)
    said = printed(main, given)
    assert f"not known which images the model {bare} was trained on" in said
    assert "was trained on 0" not in said


def test_another_network_is_refused_with_the_settings_to_use(
    blob_folders: Folders, tiny_model_folder: Path, tmp_path: Path, refused: Printed
) -> None:
    more = ("--init", tiny_model_folder, "--set", "model.condition_widths=16,24,32,40")
    said = refused(main, words(blob_folders, tmp_path / "model", *more))
    assert "--set model.condition_widths=16,24,32,32" in said
