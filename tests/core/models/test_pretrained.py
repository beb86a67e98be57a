"""The pretrained encoder matches the published network, with correct gradients."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from latentfm_core.config import ModelConfig
from latentfm_core.errors import ConfigError
from latentfm_core.models.depthwise import depthwise_conv2d
from latentfm_core.models.efficientnet import EfficientNetLite
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training import imagenet


def published(source: dict[str, Tensor], image: Tensor) -> list[Tensor]:
    """Return stem and first block of the published network, with batch statistics in eval mode."""

    def norm(x: Tensor, name: str) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (source[f"{name}.{part}"] for part in parts)
        return F.batch_norm(x, mean, variance, weight, bias, eps=1e-3)

    x = F.conv2d(F.pad(image, (0, 1, 0, 1)), source["_conv_stem.weight"], stride=2)
    stem = F.relu6(norm(x, "_bn0"))
    x = F.conv2d(stem, source["_blocks.0._depthwise_conv.weight"], padding=1, groups=32)
    x = F.relu6(norm(x, "_blocks.0._bn1"))
    x = F.conv2d(x, source["_blocks.0._project_conv.weight"])
    return [stem, norm(x, "_blocks.0._bn2")]


def test_loaded_weights_compute_the_published_network() -> None:
    encoder = EfficientNetLite("lite0")
    imagenet.load_imagenet(encoder, "lite0")
    spec = util.find_spec(imagenet.package_name("lite0"))
    assert spec is not None
    assert spec.origin is not None
    [path] = (Path(spec.origin).parent / "models").glob("*.pth")
    source = torch.load(path, weights_only=True)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        stem, first = published(source, image)
        torch.testing.assert_close(encoder.stem(image), stem, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(encoder(image)[0], first, atol=1e-4, rtol=1e-4)


def test_features_have_the_strides_and_channels_they_declare() -> None:
    for variant in ("lite0", "lite1", "lite2"):
        encoder = EfficientNetLite(variant)
        features = encoder(torch.zeros(1, 3, 64, 96))
        assert [f.shape[1] for f in features] == list(encoder.channels)
        assert [f.shape[2:] for f in features] == [
            (64 // stride, 96 // stride) for stride in (2, 4, 8, 16, 32)
        ]


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_depthwise_gradients_equal_autograd(kernel: int, stride: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(kernel * 10 + stride)
    x = torch.randn(2, 8, 14, 18, generator=generator)
    weight = torch.randn(8, 1, kernel, kernel, generator=generator)
    padding = kernel // 2

    def gradients(own: bool, kind: torch.dtype) -> list[Tensor]:
        a, b = (value.to(kind).detach().clone().requires_grad_() for value in (x, weight))
        if own:
            y = depthwise_conv2d(a, b, stride, padding)
        else:
            y = F.conv2d(a, b, None, stride, padding, 1, 8)
        y.float().square().sum().backward()  # type: ignore[no-untyped-call]
        return [a.grad, b.grad]  # type: ignore[list-item]

    exact = gradients(False, torch.float32)
    for found, wanted in zip(gradients(True, dtype), exact, strict=True):
        error = (found.float() - wanted).norm() / wanted.norm()
        assert error < (1e-5 if dtype == torch.float32 else 2e-2)


def test_an_untrained_prompt_encoder_has_no_effect() -> None:
    torch.manual_seed(0)
    model = LatentFM(ModelConfig(condition="pretrained", prompts=True)).eval()
    images = torch.rand(1, 3, 64, 64)
    prompts = torch.rand(1, 4, 64, 64)
    with torch.no_grad():
        without = model.features(images)
        for first, second in zip(without, model.features(images, prompts), strict=True):
            torch.testing.assert_close(first, second)


def test_frozen_stages_are_not_trained() -> None:
    model = LatentFM(ModelConfig(condition="pretrained"))
    assert model.encoder is not None
    stages = model.encoder.encoder.stages
    trained = {id(p) for p in model.flow_parameters(frozen_stages=2)}
    assert not any(id(p) in trained for stage in stages[:2] for p in stage.parameters())
    assert not any(id(p) in trained for p in model.encoder.encoder.stem.parameters())
    assert all(id(p) in trained for p in stages[2].parameters())


def test_missing_weights_are_reported_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"napari-latentfm\[pretrained\]"):
        imagenet.load_imagenet(EfficientNetLite("lite0"), "lite0")


def test_an_unknown_weights_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "weights.pth"
    other.write_bytes(b"not the published weights")
    monkeypatch.setattr(imagenet, "_weights_file", lambda variant: other)
    with pytest.raises(ConfigError, match="not the expected file"):
        imagenet.load_imagenet(EfficientNetLite("lite0"), "lite0")
