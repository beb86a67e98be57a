"""Loggers of a training, with the real libraries and without network access."""

from __future__ import annotations

import json
import logging
import re
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latentfm_core.cli.train import build_parser, main
from latentfm_core.loggers.tracking import Tracking
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, write_blobs
from tests.helpers.pages import LOG, read_table
from tests.helpers.processes import PATIENCE, wait_for
from tests.helpers.training_runs import start, words

LIBRARIES = ("tensorboard", "wandb", "mlflow")
"""Each is also the name of its option and of its extra."""

pytestmark = [
    pytest.mark.slow,
    # mlflow and wandb use older interfaces of their dependencies.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections to other computers; W&B talks to its own process on this one."""
    connect = socket.socket.connect

    def refuse(own: socket.socket, address: Any) -> None:
        if own.family != getattr(socket, "AF_UNIX", None) and address[0] != "127.0.0.1":
            raise AssertionError(f"asked the network: {address}")
        connect(own, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    # What a user may have set for other programs.
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://192.0.2.1:5000")


@pytest.fixture
def images(tmp_path: Path) -> Folders:
    return write_blobs(tmp_path / "data", 12)


def rows(out: Path) -> list[dict[str, str]]:
    return read_table(out, LOG)


def test_tensorboard_has_learning_rate_losses_figures_and_pictures(
    images: Folders, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "model"
    assert main(words(images, out, "--tensorboard", "--quiet")) == 0
    events = EventAccumulator(str(out / "training" / "tensorboard"))
    events.Reload()  # type: ignore[no-untyped-call]
    logged = [row for row in rows(out) if row["stage"] == "flow"]
    for name in ("loss", "velocity", "learning_rate", "val_dice"):
        found = events.Scalars(f"flow/{name}")  # type: ignore[no-untyped-call]
        assert [each.step for each in found] == [int(row["step"]) for row in logged]
        expected = [float(row[name]) for row in logged]
        assert [each.value for each in found] == pytest.approx(expected, rel=1e-2, abs=1e-5)
    pictures = events.Images("flow/samples")  # type: ignore[no-untyped-call]
    assert [each.step for each in pictures] == [int(row["step"]) for row in logged]


def test_mlflow_has_a_run_that_resumed_training_continues(images: Folders, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("alembic")
    from latentfm_core.loggers.logger import Point
    from latentfm_core.loggers.mlflow import MlflowLogger

    out = tmp_path / "my model"
    assert main(words(images, out, "--quiet", "--mlflow")) == 0
    training = out / "training"
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{training}/mlflow.db")
    place = client.get_experiment_by_name("latentfm").experiment_id
    (run,) = client.search_runs([place])
    assert run.info.run_name == "my model"
    assert run.info.status == "FINISHED"
    assert run.data.params["training.flow.batch_size"] == "4"
    assert str(tmp_path) not in str(run.data), "no path of this computer"
    history = client.get_metric_history(run.info.run_id, "flow/loss")
    logged = [row for row in rows(out) if row["stage"] == "flow"]
    assert [each.step for each in history] == [int(row["step"]) for row in logged]
    stored = sorted(path.name for path in (training / "mlflow-artifacts").rglob("epoch_*.png"))
    assert stored == ["epoch_0001.png", "epoch_0002.png"]
    for resumed, count in ((True, 1), (False, 2)):
        logger = MlflowLogger(training, "my model", {}, resumed=resumed)
        logger.metrics(Point("flow", 3, 9), {"loss": 0.25})
        logger.close()
        assert len(client.search_runs([place])) == count


def test_wandb_is_offline_and_contains_curves_and_pictures(images: Folders, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    out = tmp_path / "model"
    assert main(words(images, out, "--wandb", "--quiet")) == 0
    (folder,) = (out / "training" / "wandb").glob("*run-*")
    assert folder.name.startswith("offline-run-")
    history, said = read_wandb(next(folder.glob("*.wandb")))
    logged = [row for row in rows(out) if row["stage"] == "flow"]
    losses = [each for each in history if "flow/loss" in each]
    assert [each["flow/step"] for each in losses] == [int(row["step"]) for row in logged]
    assert [each["flow/loss"] for each in losses] == pytest.approx(
        [float(row["loss"]) for row in logged], abs=1e-4
    )
    pictures = [each for each in history if any("samples" in k for k in each)]
    assert len(pictures) == 2
    assert len(list((folder / "files").rglob("*.png"))) == 2
    assert not (folder / "files" / "requirements.txt").exists()
    for private in (f'"{socket.gethostname()}"', str(tmp_path / "data")):
        assert private not in said, "neither the host nor the folders of the images"


def read_wandb(path: Path) -> tuple[list[dict[str, Any]], str]:
    """Return the history of an offline run, and the run and settings in its file."""
    from wandb.proto import wandb_internal_pb2

    history: list[dict[str, Any]] = []
    said = ""
    for data in log_records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            items = record.history.item
            history.append(
                {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}
            )
        else:
            said += str(record)
    return history, said


def log_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a file in the log format of LevelDB, which W&B uses."""
    block, at, whole = 32_768, 7, b""
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, or the last part
            yield whole
            whole = b""


def test_a_resumed_run_continues_its_wandb_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    from latentfm_core.loggers.logger import Point
    from latentfm_core.loggers.wandb import WandbLogger

    for epoch in (1, 2):
        logger = WandbLogger(tmp_path, "name", {"a": 1})
        logger.metrics(Point("flow", epoch, 4 * epoch), {"loss": 0.5})
        logger.close()
    folders = list((tmp_path / "wandb").glob("offline-run-*"))
    ids = {path.name.split("-")[3] for path in folders}
    assert len(folders) == 2
    assert len(ids) == 1


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_is_named_before_the_images_are_read(
    name: str, images: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Printed
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *more: None if n == name else find(n, *more)
    )
    said = refused(main, words(images, tmp_path / "model", f"--{name}"))
    assert f"napari-latentfm[{name}]" in said
    assert f"leave --{name} out" in said
    assert "reading" not in said
    assert not (tmp_path / "model").exists()


def test_a_logger_that_fails_does_not_end_the_training(
    images: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard")
    from latentfm_core.loggers.tensorboard import TensorBoardLogger

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING, "latentfm_core"):
        patch.setattr(TensorBoardLogger, "metrics", full)
        assert main(words(images, tmp_path / "model", "--tensorboard", "--quiet")) == 0
    warned = [each.message for each in caplog.records if "tensorboard" in each.message]
    assert len(warned) == 1
    assert len(rows(tmp_path / "model")) == 4


def test_an_epoch_logs_a_readable_line(images: Folders, tmp_path: Path, printed: Printed) -> None:
    said = printed(main, words(images, tmp_path / "model"))
    lines = [line for line in said.splitlines() if ", epoch " in line]
    assert len(lines) == 4
    first = r"Mask VAE, epoch 1 of 1: loss \d+\.\d{4}; \d+\.\d images/s"
    assert re.search(first, lines[1])
    flow = (
        r"Flow, epoch 1 of 2: loss \d+\.\d{4}; validation Dice 0\.\d{3}, IoU 0\.\d{3}, "
        r"Dice of samples 0\.\d{3} \(best so far\); \d+\.\d images/s, \d+ s left"
    )
    assert re.search(flow, lines[2])


def test_an_online_run_without_a_login_says_what_to_do(
    images: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Printed
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    said = refused(main, words(images, tmp_path / "model", "--wandb", "online", "--quiet"))
    assert "The W&B run cannot start" in said
    assert "wandb login" in said


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_the_command_that_continues_a_stopped_run_names_its_loggers(
    images: Folders, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "model"
    endless = ("--set", "training.flow.epochs=100000", "--tensorboard")
    process = start(words(images, out, *endless))
    wait_for(lambda: (out / "training" / "samples").is_dir(), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert f"To continue: latentfm-train --out {out} --resume --tensorboard" in said


def test_each_choice_of_loggers_is_named_as_the_command_reads_it() -> None:
    for tracking in (
        Tracking(),
        Tracking(True, "online", "http://host:5000"),
        Tracking(wandb="offline"),
    ):
        given = build_parser().parse_args(tracking.arguments())
        assert Tracking(given.tensorboard, given.wandb, given.mlflow) == tracking
