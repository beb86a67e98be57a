"""Shapes of the networks, and gradients that reach every trained weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentfm_core.config import ModelConfig
from latentfm_core.flow.objective import flow_matching_loss
from latentfm_core.models.latentfm import LatentFM

SIDE, BATCH, FACTOR = 64, 2, 8
SMALL: dict[str, Any] = {
    "vae_width": 8,
    "condition_widths": (8, 8, 16, 16),
    "condition_blocks": (1, 1, 1, 1),
    "velocity_widths": (16, 16, 16),
    "velocity_blocks": 1,
    "dropout": 0.0,
}
KINDS: dict[str, dict[str, Any]] = {
    "frozen": {"condition": "frozen"},
    "multiscale": {"condition": "multiscale"},
    "pretrained": {"condition": "pretrained"},
    "prompts": {"condition": "multiscale", "prompts": True},
    "classes": {"condition": "multiscale", "classes": ("disc", "cup")},
}


def network(**changes: Any) -> LatentFM:
    """Return a small network without zero weights, which would stop gradients."""
    torch.manual_seed(0)
    model = LatentFM(ModelConfig(**SMALL, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_shapes(kind: str) -> None:
    model = network(**KINDS[kind])
    c, k, side = model.latent_channels, model.config.mask_channels, SIDE // FACTOR
    assert k == (3 if kind == "classes" else 1)
    images = torch.rand(BATCH, 3, SIDE, SIDE)
    z = model.encode_mask(torch.rand(BATCH, k, SIDE, SIDE).round())
    assert z.shape == (BATCH, c, side, side)
    assert model.decode_mask(z).shape == (BATCH, k, SIDE, SIDE)
    maps = model.condition(images)
    velocity = model.velocity(torch.rand(BATCH), z, maps)
    assert velocity.shape == z.shape
    assert velocity.dtype == torch.float32
    if kind != "frozen":
        auxiliary = model.auxiliary_latent(model.features(images))
        assert auxiliary is not None
        assert auxiliary.shape == z.shape


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_of_the_flow(kind: str) -> None:
    model = network(**KINDS[kind])
    features = model.features(
        torch.rand(BATCH, 3, SIDE, SIDE),
        torch.rand(BATCH, 4, SIDE, SIDE) if kind == "prompts" else None,
    )
    maps = model.velocity.condition_maps(features)
    z = torch.randn(2, BATCH, model.latent_channels, SIDE // FACTOR, SIDE // FACTOR)
    flow = flow_matching_loss(lambda t, s: model.velocity(t, s, maps), *z, torch.rand(BATCH))
    auxiliary = model.auxiliary_latent(features)
    loss = flow.loss if auxiliary is None else flow.loss + auxiliary.square().mean()
    loss.backward()
    trained = {id(parameter) for parameter in model.flow_parameters()}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in trained]
    without = [name for name in names if not _has_gradient(model.get_parameter(name))]
    assert names
    assert not without


def test_gradients_reach_every_parameter_of_the_mask_vae() -> None:
    model = network(**KINDS["frozen"])
    posterior = model.mask_vae.encode(torch.rand(BATCH, 1, SIDE, SIDE).round())
    loss = model.mask_vae.decode(posterior.sample()).square().mean() + posterior.kl()
    loss.backward()
    assert all(map(_has_gradient, model.mask_vae.parameters()))


def test_an_untrained_prompt_encoder_has_no_effect() -> None:
    torch.manual_seed(0)
    model = LatentFM(ModelConfig(**SMALL, **KINDS["prompts"])).eval()
    images, prompts = torch.rand(1, 3, SIDE, SIDE), torch.rand(1, 4, SIDE, SIDE)
    for plain, prompted in zip(
        model.features(images), model.features(images, prompts), strict=True
    ):
        assert torch.equal(plain, prompted)


def test_one_image_conditions_many_samples() -> None:
    model = network(**KINDS["multiscale"])
    maps = model.condition(torch.rand(1, 3, SIDE, SIDE))
    t, z = torch.rand(3), torch.randn(3, model.latent_channels, SIDE // FACTOR, SIDE // FACTOR)
    together = model.velocity(t, z, maps)
    alone = torch.cat([model.velocity(t[n : n + 1], z[n : n + 1], maps) for n in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_few_step_network_depends_on_the_length_of_its_step() -> None:
    model = network(condition="multiscale", distilled_steps=2)
    assert model.few_step_velocity is not None
    maps = model.condition(torch.rand(1, 3, SIDE, SIDE), few_steps=True)
    t, z = torch.zeros(1), torch.randn(1, model.latent_channels, SIDE // FACTOR, SIDE // FACTOR)
    whole, half = (model.few_step_velocity(t, z, maps, torch.tensor([h])) for h in (1.0, 0.5))
    assert not torch.allclose(whole, half)


def _has_gradient(parameter: torch.nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.any())
