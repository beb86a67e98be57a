"""Integrate the flow with guidance towards strokes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentfm_core.correction.strokes import BACKGROUND, UNMARKED, Labels
from latentfm_core.flow.path import endpoint
from latentfm_core.flow.solvers import Velocity

Decode = Callable[[Tensor], Tensor]


class Mismatch:
    """Mismatch between decoded masks and strokes.

    Parameters
    ----------
    canvas
        ``(S, S)`` strokes on the model's canvas.
    """

    def __init__(self, canvas: Labels, device: torch.device) -> None:
        strokes = torch.from_numpy(canvas).to(device)
        self._marked = (strokes != UNMARKED).float()
        self._label = strokes.long().sub(BACKGROUND).clamp(min=0)
        self.pixels = float(self._marked.sum())

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the mean cross-entropy at the strokes, ``(B,)``, of logits ``(B, K, S, S)``."""
        count = len(logits)
        if logits.shape[1] == 1:
            inside = (self._label > 0).to(logits.dtype).expand(count, -1, -1)
            loss = F.binary_cross_entropy_with_logits(logits[:, 0], inside, reduction="none")
        else:
            loss = F.cross_entropy(logits, self._label.expand(count, -1, -1), reduction="none")
        total: Tensor = (loss * self._marked).sum((1, 2))
        return total / max(self.pixels, 1.0)


def guided_steps(
    velocity: Velocity,
    decode: Decode,
    mismatch: Mismatch,
    z: Tensor,
    steps: int,
    scale: float,
) -> Iterator[Tensor]:
    """Yield the state after each Euler step from t = 0 to t = 1, guided by the strokes.

    Each step decodes the predicted endpoint of the flow, and moves the state against the gradient
    of its mismatch before the flow step (as in diffusion posterior sampling, Chung et al. 2023,
    with the endpoint of the flow in place of the denoised estimate):

        z_1' = z_t + (1 - t) v(t, z_t),    g = d mismatch(decode(z_1')) / d z_t,
        z_t <- z_t - scale * min(1, mismatch) * g / |g|,    z_{t+h} = z_t + h v.

    The gradient passes through the velocity network, which is conditioned on the image: a stroke
    moves the outline along image edges, not just below the brush. `scale` sets its length,
    because the gradient of a confidently wrong mask nearly vanishes.

    Parameters
    ----------
    velocity, decode
        The network at one time for ``(B, c, h, w)`` states, and latents to mask logits
        ``(B, K, S, S)``; differentiable.
    z
        Noise ``(B, c, h, w)``.
    steps
        K, number of steps.
    scale
        Maximum change of a state in one step, in standard deviations of the latent.
    """
    h = 1.0 / steps
    for step in range(steps):
        z = _guided_step(velocity, decode, mismatch, z, step * h, h, scale)
        yield z


def _guided_step(
    velocity: Velocity,
    decode: Decode,
    mismatch: Mismatch,
    z: Tensor,
    t: float,
    h: float,
    scale: float,
) -> Tensor:
    with torch.enable_grad():
        state = z.detach().clone().requires_grad_(True)
        v = velocity(t, state).float()
        times = torch.full((len(state),), t, device=state.device)
        loss = mismatch(decode(endpoint(state, v, times)).float())
        (gradient,) = torch.autograd.grad(loss.sum(), state)
    length = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
    move = scale * loss.detach().clamp(max=1.0) / length
    moved: Tensor = state + h * v - move.reshape(-1, 1, 1, 1) * gradient
    return moved.detach()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Disable gradients of the weights, to save memory."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
