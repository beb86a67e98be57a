"""Fixtures that every test may use."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from napari import current_viewer, settings
from napari._qt import qt_main_window
from napari.settings import NapariSettings
from npe2 import PluginManifest

from latentfm_core import once
from latentfm_core.cli.train import main as train_command
from latentfm_core.inference.device import resolve_precision
from latentfm_core.training.trainer import Trainer
from tests.helpers.commands import printed, refused
from tests.helpers.fixtures import (
    blob_folders,
    calibrated_model_folder,
    domain_model_folder,
    segmenter,
    tiny_model_folder,
)
from tests.helpers.folds import fold_models
from tests.helpers.plugin_fixtures import (
    blob_image,
    docked_panel,
    forget_notifications,
    opened_dock,
    photo_window,
)
from tests.helpers.processors import auto_precision
from tests.helpers.prompting import promptable, promptable_model_folder
from tests.helpers.two_classes import coloured_model_folder, two_class_folders

__all__ = [
    "auto_precision",
    "blob_folders",
    "blob_image",
    "calibrated_model_folder",
    "coloured_model_folder",
    "docked_panel",
    "domain_model_folder",
    "fold_models",
    "forget_notifications",
    "opened_dock",
    "photo_window",
    "printed",
    "promptable",
    "promptable_model_folder",
    "refused",
    "segmenter",
    "tiny_model_folder",
    "two_class_folders",
]


SLOW_FIRST = (
    "image_changes",
    "crash",
    "theory",
    "lost_output",
    "adapting",
    "gl_context",
    "long_use",
    "demo",
    "cross_validation",
    "distributed",
    "slurm",
    "finetuning_panel",
    "predict_processes",
    "fuzz",
    "disks_panels",
    "autosave",
    "review_work",
    "worklist_panel",
    "benchmark_prompts",
    "export_models",
    "training",
    "classes",
    "finetuning",
    "privacy",
    "stack_panel",
    "raters",
)
"""Files with the longest tests, by their names after ``test_``."""


TRAINED = {
    "tiny_model_folder",
    "calibrated_model_folder",
    "domain_model_folder",
    "promptable_model_folder",
    "fold_models",
    "coloured_model_folder",
}
"""Fixtures that train a model."""
TRAINERS = (Trainer, train_command)
"""Test files that import one of these train a model."""


def pytest_report_header() -> str:
    """Name the precision that ``auto`` means on this processor."""
    return f"latentfm: precision auto is {resolve_precision('auto', torch.device('cpu'))}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their requirements, and start with the longest.

    Processes that run out of tests take half of what another has left, but not the test it runs.
    """
    rank = {f"test_{name}.py": place for place, name in enumerate(SLOW_FIRST)}
    for item in items:
        parts = item.path.relative_to(item.config.rootpath).parts
        if "plugin" in parts:
            item.add_marker("gui")
        if "system" in parts:
            item.add_marker("process")
        trains = TRAINED & set(getattr(item, "fixturenames", ()))
        if trains or item.path.name in rank or _imports_trainer(item):
            item.add_marker("slow")
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def _imports_trainer(item: pytest.Item) -> bool:
    names = vars(getattr(item, "module", None) or object).values()
    return any(value is trainer for value in names for trainer in TRAINERS)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Turn garbage collection off while the test files are imported; hardly anything is garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Exclude everything imported from garbage collection.

    napari collects garbage at every start and end of a viewer and at every removal of a layer.
    Half of the time of a test with a window went into looking through PyTorch's modules.
    """
    _pass_over()


def pytest_runtest_setup() -> None:
    """Exclude what napari keeps of closed viewers, too: some 4,000 objects each.

    Not while a window exists: its objects must still be collected. Other widgets do not
    count: one that a test leaves behind would slow down all that follow.
    """
    if current_viewer() is None:
        _pass_over()


def _pass_over() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _manifests_are_read_once() -> Iterator[None]:
    """Cache the manifests of all plugins, which napari reads again for every viewer."""
    with pytest.MonkeyPatch.context() as patch:
        genuine = PluginManifest.discover
        read = cache(lambda *args, **options: tuple(genuine(*args, **options)))
        patch.setattr(PluginManifest, "discover", read)
        yield


@pytest.fixture(autouse=True, scope="session")
def _settings_stay_in_memory() -> Iterator[None]:
    """Do not write napari's settings: each window would write the whole file several times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NapariSettings, "_maybe_save", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def _plain_widgets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out napari's style sheet, unless the test is marked ``styled``.

    Qt applies it to each of some 450 widgets of a window with the dock, which is a third of the
    time of such a test. Sizes and colours depend on it, behaviour does not.
    """
    marker = request.node.get_closest_marker
    if marker("gui") and not marker("styled"):
        monkeypatch.setattr(qt_main_window, "get_stylesheet", lambda *_, **__: "")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the plugin's files out of the user's own folder."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("NAPARI_LATENTFM_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def _own_settings(_own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reset napari's plugin settings, which belong to the process from version 0.9 on."""
    monkeypatch.setattr(settings, "_CFG_PATH", str(_own_home / "settings.yaml"), raising=False)
    forget = getattr(settings, "_clear_plugin_settings_cache", lambda: None)
    forget()
    yield
    forget()


@pytest.fixture(autouse=True)
def warned_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test see the warnings that come once in a process."""
    monkeypatch.setattr(once, "_DONE", set())
