"""Options of the commands: the same name has the same meaning and help text."""

from __future__ import annotations

import argparse
import logging
import re
from collections import defaultdict
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import latentfm_core
from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.cli.common import NOTICE, run_cli
from latentfm_core.cli.evaluate import main as evaluate
from latentfm_core.cli.predict import main as predict
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.file_names import CARD
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, copy_model

COMMANDS = ("train", "predict", "evaluate", "calibrate", "export")
OWN = {"--out", "--overwrite", "--format", "--data", "--split", "--part", "--model", "--precision"}
"""Options that each command describes in its own words."""
NO_SAMPLES = {"train": {"--seed"}}
"""Options of training, which draws no samples."""


def _options() -> dict[str, dict[str, argparse.Action]]:
    """Return the declaration of each option by its name and the command."""
    found: dict[str, dict[str, argparse.Action]] = defaultdict(dict)
    for command in COMMANDS:
        parser = import_module(f"latentfm_core.cli.{command}").build_parser()
        for action in parser._actions:
            for name in set(action.option_strings) - NO_SAMPLES.get(command, set()):
                found[name][command] = action
    return found


def test_options_with_the_same_name_are_declared_alike() -> None:
    options = _options()
    for name in options.keys() - OWN:
        said = {(action.help, action.metavar, action.dest) for action in options[name].values()}
        assert len(said) == 1, f"{name} means different things: {said}"
    shared = {name for name, commands in options.items() if len(commands) > 1}
    assert {"--images", "--mask-threshold", "--skip-bad", "--device", "--samples"} <= shared


def test_every_option_has_a_help_text() -> None:
    for name, commands in _options().items():
        for command, action in commands.items():
            assert action.help, f"latentfm-{command} does not explain {name}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_its_version(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = import_module(f"latentfm_core.cli.{command}").main
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"latentfm-{command} {version('napari-latentfm')}\n"


def test_warnings_are_marked_consistently(capsys: pytest.CaptureFixture[str]) -> None:
    def work(args: argparse.Namespace) -> None:
        logger = logging.getLogger("latentfm_core.anything")
        logger.info("Began.")
        logger.warning("%d masks are empty.", 2)
        logger.log(NOTICE, "Stopped.")

    assert run_cli(work, argparse.ArgumentParser(), []) == 0
    assert capsys.readouterr().err.splitlines() == [
        "Began.",
        "warning: 2 masks are empty.",
        "Stopped.",
    ]
    marked = re.compile(r'"warning: ', re.IGNORECASE)
    files = Path(latentfm_core.__file__).parent.rglob("*.py")
    own = [path.name for path in files if marked.search(path.read_text("utf-8"))]
    assert own == ["common.py"], "the log handler marks them"


def test_options_of_all_subcommands_belong_before_them(refused: Printed) -> None:
    parser = argparse.ArgumentParser()
    parser.add_subparsers().add_parser("table")
    said = refused(run_cli, lambda args: None, parser, ["table", "--version"])
    assert "--version. Write --version before the subcommand" in said


def test_an_empty_argument_is_refused(refused: Printed) -> None:
    assert "an argument is empty" in refused(predict, ["image.png", "--out", ""])


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", "--minutes 0"),
        ("train", "--minutes -1"),
        ("train", "--minutes nan"),
        ("train", "--folds 1"),
        ("train", "--seed -1"),
        ("train", "--mask-threshold inf"),
        ("predict image.png", "--channel 0"),
        ("predict image.png", "--max-megapixels -3"),
        ("predict image.png", "--overlap 1"),
        ("predict image.png", "--samples 0"),
        ("evaluate", "--report-cases -2"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_option(
    command: str, words: str, refused: Printed
) -> None:
    name, *rest = command.split()
    main = import_module(f"latentfm_core.cli.{name}").main
    option, value = words.split()
    said = refused(main, [*rest, "--out", "out", option, value])
    assert f"error: argument {option}: '{value}' must be " in said


FOLDERS = "--images . --masks . --allow-few --model"


@pytest.mark.parametrize(
    ("command", "words", "named"),
    [
        ("calibrate", f"{FOLDERS} MODEL --domain-only --mask-threshold 3", "--mask-threshold has"),
        ("calibrate", f"{FOLDERS} MODEL --domain-only --prompt box", "--prompt has"),
        ("calibrate", f"{FOLDERS} MODEL --domain-only --samples 3 --steps 9", "--samples and --st"),
        ("calibrate", "--model MODEL --domain-only --training-config x --part val", "--part has"),
        ("predict", ". --out out --plane zx", "--plane has no effect without --stack"),
        ("predict", ". --out out --keep-numbers", "--keep-numbers has no effect without --prompts"),
        ("predict", ". --out out --box 1,1,9,9 --refine", "--refine has no effect with --box"),
        ("export", "--format onnx --out out --max-megapixels 3", "without --test-image"),
    ],
)
def test_options_without_an_effect_are_refused(
    command: str,
    words: str,
    named: str,
    tiny_model_folder: Path,
    tmp_path: Path,
    refused: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    main = import_module(f"latentfm_core.cli.{command}").main
    copy_model(tiny_model_folder, tmp_path / "MODEL")
    assert named in refused(main, words.split())


def test_options_of_simulated_prompts_need_them(
    blob_folders: Folders, promptable_model_folder: Path, tmp_path: Path, refused: Printed
) -> None:
    words = ["--images", blob_folders[0], "--masks", blob_folders[1], "--out", tmp_path / "out"]
    words += ["--model", promptable_model_folder]
    for more, said in (
        (["--corrections", "2"], "--corrections has no effect without --prompt corrections"),
        (["--most-objects", "2"], "--most-objects has no effect without --prompt"),
        (["--prompt", "box", "--refine"], "--refine has no effect with --prompt"),
    ):
        assert said in refused(evaluate, [*map(str, [*words, *more])])


def test_a_bundled_model_is_not_calibrated_in_place(tmp_path: Path, refused: Printed) -> None:
    card = resolve_model("isic2018") / CARD
    before = card.read_bytes()
    folders = ["--images", str(tmp_path), "--masks", str(tmp_path)]
    assert "calibrate the copy" in refused(calibrate, [*folders, "--model", "isic2018"])
    assert card.read_bytes() == before


@pytest.mark.parametrize("words", [["--quiet", "work"], ["work", "--quiet"], ["work"]])
def test_quiet_silences_a_further_package_before_and_after_a_subcommand(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    parser.add_subparsers(dest="action").add_parser("work")
    logger = logging.getLogger("benchmarks.accuracy")

    def work(args: argparse.Namespace) -> None:
        assert args.action == "work"
        logger.info("row default, seed 0")
        logger.warning("slow")

    assert run_cli(work, parser, words, package="benchmarks") == 0
    said = capsys.readouterr().err
    assert ("row default" in said) is (words == ["work"])
    assert "slow" in said
