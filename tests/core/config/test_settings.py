"""Settings: files, presets, overrides, and messages about invalid ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from latentfm_core.cli.train import main
from latentfm_core.config import Config, config_from_mapping, load_config, preset, with_overrides
from latentfm_core.config.loading import override_values
from latentfm_core.config.suggest import all_names
from latentfm_core.errors import ConfigError
from tests.helpers.commands import Printed
from tests.helpers.fixtures import write_blobs


@pytest.mark.parametrize(
    "setting",
    [
        "training.flow.epochs=100000000",
        "training.flow.batch_size=1000000000",
        "training.flow.learning_rate=1e6",
        "training.flow.noise_draws=2000000",
        "training.validation_samples=1000000",
        "sampling.batch_size=1000000000",
        "training.flow.epochs=true",
        "training.minutes=false",
        'model.classes=[" "]',
        r'model.classes=["a\u001b[31m"]',
    ],
)
def test_mistyped_numbers_are_refused(setting: str, refused: Printed) -> None:
    assert setting.partition("=")[0] in refused(main, ["--out", "nowhere", "--set", setting])


def test_dumped_settings_start_the_same_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--set", "training.flow.epochs=7", "--minutes", "5", "--dump-config"]) == 0
    path = tmp_path / "run.toml"
    path.write_text(capsys.readouterr().out)
    config = load_config(path)
    assert config == with_overrides(
        preset("default"), ["training.flow.epochs=7", "training.minutes=5"]
    )


@pytest.mark.parametrize("name", ["default", "paper"])
def test_a_section_of_a_file_changes_only_the_given_settings(tmp_path: Path, name: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f'preset = "{name}"\n[training.flow]\nbatch_size = 7\n')
    assert load_config(path) == with_overrides(preset(name), ["training.flow.batch_size=7"])


def test_a_mapping_changes_only_what_it_names() -> None:
    config = config_from_mapping({"training": {"flow": {"batch_size": 4}}})
    default = Config()
    flow = default.training.flow.model_copy(update={"batch_size": 4})
    training = default.training.model_copy(update={"flow": flow})
    assert config == default.model_copy(update={"training": training})


def test_dumped_settings_include_those_without_a_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--set", "training.image_vae.size=null"]  # 128 in the default preset
    assert main([*words, "--dump-config"]) == 0
    text = capsys.readouterr().out
    for name in all_names(Config):
        if not name.startswith("data.sets."):
            assert re.search(rf"^(# )?{name.rpartition('.')[2]} =", text, re.MULTILINE), name
    assert "# minutes =\n#     Time budget of the whole run" in text
    path = tmp_path / "run.toml"
    path.write_text(text)
    assert load_config(path) == with_overrides(preset("default"), words[1:])
    path.write_text(text.replace("# minutes =", "minutes = 3"))
    assert load_config(path).training.minutes == 3
    names = [("a", "masks"), ("b", "instances")]
    tables = [
        f'[[data.sets]]\nname = "{name}"\nimages = "{name}"\nmasks = "m"\nkind = "{kind}"\n'
        for name, kind in names
    ]
    path.write_text("".join(tables) + "weight = 2.0\n")
    config = load_config(path)
    assert main(["--config", str(path), "--dump-config"]) == 0
    path.write_text(capsys.readouterr().out)
    assert load_config(path) == config


def test_relative_paths_of_set_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = with_overrides(Config(), ["data.images=a/images", "data.split_file=s.csv"]).data
    assert (data.images, data.split_file) == (tmp_path / "a" / "images", tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("training.flow.epoch", "Did you mean training.flow.epochs?"),
        ("training.flow.lr", "Did you mean training.flow.learning_rate?"),
        ("training.epochs", "training.mask_vae.epochs, training.flow.epochs"),
        ("trainin.seed", "Did you mean training?"),
        ("flow.epochs", "flow: unknown setting. Did you mean training.flow?"),
        ("sampling.zzz", "Choose one of: batch_size"),
    ],
)
def test_a_misspelt_setting_gets_the_nearest_name(
    wrong: str, right: str, tmp_path: Path, refused: Printed
) -> None:
    assert right in refused(main, ["--out", str(tmp_path / "m"), "--set", f"{wrong}=1"])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("grade [1],grade [2]", ["grade [1]", "grade [2]"]),
        ("[1] a,b [2]", ["[1] a", "b [2]"]),
        ('"nevus, benign"', ["nevus, benign"]),
        ('[a,"b, c"]', ["a", "b, c"]),
    ],
)
def test_brackets_and_commas_in_names_are_kept(written: str, meant: list[str]) -> None:
    assert override_values([f"model.classes={written}"]) == {"model": {"classes": meant}}


def test_an_empty_name_in_a_list_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.classes: the list 'disc,,cup' has an empty"):
        override_values(["model.classes=disc,,cup"])


@pytest.mark.parametrize("written", ["disc,cup", "[disc, cup]", '["disc","cup"]', "'disc','cup'"])
def test_a_list_may_be_written_with_commas(written: str) -> None:
    changed = with_overrides(Config(), [f"model.classes={written}", "model.velocity_widths=32,64"])
    assert changed.model.classes == ("disc", "cup")
    assert changed.model.velocity_widths == (32, 64)
    assert with_overrides(changed, ["model.classes=disc"]).model.classes == ("disc",)


def test_a_value_that_should_be_a_list_is_explained(tmp_path: Path, refused: Printed) -> None:
    (tmp_path / "run.toml").write_text('[model]\nclasses = "disc,cup"\n[data]\nsets = "a"\n')
    said = refused(main, ["--config", str(tmp_path / "run.toml"), "--out", str(tmp_path / "m")])
    assert f"{tmp_path / 'run.toml'}: Invalid settings" in said
    assert 'model.classes: must be a list: ["first", "second"]' in said
    assert "data.sets: must be a list of tables." in said


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[data]\nimages = scans\n", "(at line 2, column 10): images = scans"),
        ("[data]\nsize = 64\nsize = 32\n", "(at line 3, column 10): size = 32"),
        ('[model]\nclasses = ["a",', "(at end of document)"),
    ],
)
@pytest.mark.parametrize("option", ["--config", "--card"])
def test_invalid_toml_is_reported_with_its_line(
    option: str, text: str, where: str, tmp_path: Path, refused: Printed
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    images, masks = write_blobs(tmp_path / "data", 8)
    folders = ["--images", str(images), "--masks", str(masks)]
    said = refused(main, [*folders, option, str(file), "--out", str(tmp_path / "m")])
    assert f"{file} is not valid TOML: " in said
    assert where in said
