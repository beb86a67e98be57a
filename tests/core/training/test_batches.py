"""Input of training steps: cached images, cached latents and shared batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from latentfm_core.config import Config, config_from_mapping
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.augment import augment
from latentfm_core.training.batch_source import BatchLoader, ImageSource
from latentfm_core.training.batches import generator_for
from latentfm_core.training.checkpoint import Position
from latentfm_core.training.distributed import LossesOf, ProcessGroup
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.latent_cache import LatentCache
from latentfm_core.training.loop import Hooks, StageLoop
from latentfm_core.training.stages import STAGES, Stage, make_stage
from latentfm_core.training.step_timer import PARTS, StepTimer
from tests.helpers.fixtures import tiny_settings
from tests.helpers.pages import LOG, read_table

CPU = torch.device("cpu")
COUNT = 5


@pytest.fixture(scope="module")
def canvases() -> CanvasSet:
    """Five images of 64 x 64, each with masks of two raters."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, 64, 64, 3), dtype=np.uint8)
    masks = np.zeros((COUNT, 2, 64, 64), np.uint8)
    for index in range(COUNT):
        masks[index, 0, 8 : 20 + 6 * index, 10:50] = 1
        masks[index, 1, 30:60, 5 : 20 + 8 * index] = 1
    names = tuple(map(str, range(COUNT)))
    return CanvasSet(names, images, masks, np.full(COUNT, 2), {})


def _config(condition: str, augmentation: str) -> Config:
    values = tiny_settings(augmentation=augmentation, distill={"epochs": 1})
    values["model"] |= {"condition": condition, "distilled_steps": 1}  # type: ignore[operator]
    return config_from_mapping(values)


def _model(config: Config) -> LatentFM:
    torch.manual_seed(0)
    model = LatentFM(config.model)
    with torch.no_grad():  # so that no branch is silent, as some are at the start
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def _source(canvases: CanvasSet, rows: slice, size: int = 64) -> ImageSource:
    index, raters = np.array([3, 0, 4, 1, 2])[rows], np.array([0, 1, 1, 0, 1])[rows]
    loader = BatchLoader(canvases, 1, CPU)
    return ImageSource(loader, index, raters, size, StepTimer(CPU), torch.float32)


def _whole(rows: slice, seed: int = 0) -> GlobalBatch:
    return GlobalBatch(generator_for(seed), COUNT, rows)


def test_downscaled_images_are_cached_unchanged(
    canvases: CanvasSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = BatchLoader(canvases, 1, CPU)
    first, second = np.array([3, 0, 4]), np.array([4, 2, 3, 0])
    raters = np.array([1, 0, 0, 1])
    kept.images(first, 32), kept.masks(first, raters[:3], 32)
    again = kept.images(second, 32), kept.masks(second, raters, 32)
    monkeypatch.setattr(BatchLoader, "KEEP_BYTES", 0)
    fresh = BatchLoader(canvases, 1, CPU)
    assert torch.equal(again[0], fresh.images(second, 32))
    assert torch.equal(again[1], fresh.masks(second, raters, 32))
    assert again[1].sum() > 0
    # Another size: the cache of the first one does not apply.
    assert kept.images(first, 64).shape[-1] == 64
    assert kept.images(first, 48).shape[-1] == 48


@pytest.mark.parametrize("condition", ["frozen", "multiscale"])
@pytest.mark.parametrize("augmentation", ["none", "flips"])
def test_cached_latents_give_the_same_losses(
    canvases: CanvasSet, monkeypatch: pytest.MonkeyPatch, condition: str, augmentation: str
) -> None:
    config = _config(condition, augmentation)
    stage = make_stage("flow", _model(config), config)

    def losses(seed: int) -> dict[str, Tensor]:
        whole = _whole(slice(0, COUNT), seed)
        batch = stage.prepare(_source(canvases, slice(0, COUNT)), whole)
        assert ("target" in batch) == (LatentCache.KEEP_BYTES > 0)
        return stage.losses(batch, whole)

    kept = [losses(seed) for seed in (1, 2, 1)]
    monkeypatch.setattr(LatentCache, "KEEP_BYTES", 0)
    stage = make_stage("flow", stage.model, config)
    for seed, found in zip((1, 2, 1), kept, strict=True):
        for name, value in losses(seed).items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_cached_latents_replace_images_and_masks(
    canvases: CanvasSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the settings of the paper, cached latents replace images and masks."""
    config = _config("frozen", "none")
    flow = config.training.flow.model_copy(update={"endpoint_weight": 0.0})
    training = config.training.model_copy(update={"flow": flow})
    config = config.model_copy(update={"training": training})
    stage = make_stage("flow", _model(config), config)
    source = _source(canvases, slice(0, COUNT))
    stage.prepare(source, _whole(slice(0, COUNT)))

    def refuse(*_: object) -> Tensor:
        raise AssertionError("encoded or read again")

    for owner, name in ((BatchLoader, "images"), (BatchLoader, "masks"), (LatentFM, "encode_mask")):
        monkeypatch.setattr(owner, name, refuse)
    whole = _whole(slice(0, COUNT), seed=5)
    batch = stage.prepare(source, whole)
    assert batch.keys() == {"target", "condition"}
    assert torch.isfinite(stage.losses(batch, whole)["loss"])


def test_strong_augmentation_disables_the_latent_cache(canvases: CanvasSet) -> None:
    config = _config("frozen", "strong")
    stage = make_stage("flow", _model(config), config)
    batch = stage.prepare(_source(canvases, slice(0, COUNT)), _whole(slice(0, COUNT)))
    assert batch.keys() == {"images", "masks"}


@pytest.mark.parametrize("kind", ["flips", "strong"])
def test_augmentation_is_the_same_in_one_process_and_in_two(canvases: CanvasSet, kind: str) -> None:
    source = _source(canvases, slice(0, COUNT))
    images, masks = source.images(), source.masks()
    whole = augment(images, masks, kind, _whole(slice(0, COUNT)))
    for rows in (slice(0, 2), slice(2, COUNT)):
        part = augment(images[rows], masks[rows], kind, _whole(rows))
        torch.testing.assert_close(part[0], whole[0][rows])
        assert torch.equal(part[1], whole[1][rows])
    assert whole[0].min() >= 0
    assert whole[0].max() <= 1
    assert set(whole[1].unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(whole[0], images)


def test_bf16_is_for_the_network_and_leaves_the_augmentation_exact(
    canvases: CanvasSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config("multiscale", "strong")
    hooks = Hooks(lambda: True, lambda loop: None, lambda loop, report: None)
    seen: list[dict[str, Tensor]] = []
    for dtype in (torch.float32, torch.bfloat16):
        stage = make_stage("flow", _model(config), config)
        losses = stage.losses

        def watched(
            batch: dict[str, Tensor], whole: GlobalBatch, losses: LossesOf = losses
        ) -> dict[str, Tensor]:
            seen.append(batch)
            return losses(batch, whole)

        monkeypatch.setattr(stage, "losses", watched)
        StageLoop(stage, canvases, Position("flow"), ProcessGroup(CPU), dtype).run(hooks, 1e9)
    first, second = seen
    assert torch.equal(first["images"], second["images"])
    assert torch.equal(first["masks"], second["masks"])


def _gradients(stage: Stage, canvases: CanvasSet, parts: list[slice]) -> tuple[float, Tensor]:
    """Return loss and gradient of a batch that is divided among processes in `parts`."""
    model, share = stage.model, torch.zeros(())
    for rows in parts:  # what the processes would exchange first
        batch = stage.prepare(_source(canvases, rows), _whole(rows))
        share = share + batch.get("foreground", share) * (rows.stop - rows.start) / COUNT
    model.zero_grad()
    total = 0.0
    for rows in parts:
        whole = GlobalBatch(generator_for(0), COUNT, rows, lambda _: share)
        losses = stage.losses(stage.prepare(_source(canvases, rows), whole), whole)
        loss = losses["loss"] * (rows.stop - rows.start) / COUNT
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total, torch.cat([p.grad.flatten() for p in stage.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", STAGES)
def test_loss_and_gradient_of_batch_shares_add_up(canvases: CanvasSet, name: str) -> None:
    """Five images in two processes: three and two of them."""
    config = _config("multiscale", "strong")
    stage = make_stage(name, _model(config), config)
    loss, gradient = _gradients(stage, canvases, [slice(0, COUNT)])
    shared_loss, shared = _gradients(stage, canvases, [slice(0, 3), slice(3, COUNT)])
    assert shared_loss == pytest.approx(loss, rel=1e-5)
    assert gradient.norm() > 0
    assert (shared - gradient).norm() < 1e-4 * gradient.norm()


def test_the_log_records_the_time_of_each_part(tiny_model_folder: Path) -> None:
    for row in read_table(tiny_model_folder, LOG):
        shares = {part: float(row[f"{part}_share"]) for part in PARTS}
        assert sum(shares.values()) == pytest.approx(1, abs=0.003)
        # Rounded to thousandths; the smallest part of a tiny model may round to nothing.
        assert shares["network"] > max(share for part, share in shares.items() if part != "network")
        assert min(shares.values()) >= 0
        assert float(row["outside_network"]) == pytest.approx(1 - shares["network"], abs=0.003)
        assert float(row["images_per_second"]) > 0
