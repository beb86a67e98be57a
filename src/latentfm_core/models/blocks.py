"""Building blocks of all networks.

Group normalisation throughout: it has no running statistics, so a network behaves the same in
training, in fine-tuning on a handful of images and when a batch is split over processes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP_CHANNELS = 8


def group_norm(channels: int) -> nn.GroupNorm:
    """Return group normalisation with groups of `GROUP_CHANNELS` channels."""
    return nn.GroupNorm(max(1, channels // GROUP_CHANNELS), channels)


def zero_init(module: nn.Conv2d) -> nn.Conv2d:
    """Set the weights of `module` to zero, so that a residual branch starts as the identity."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


class SiLU(nn.Module):
    """x * sigmoid(x), for an `x` that is not used elsewhere.

    Without gradients it overwrites `x`: the large maps of many samples are bound by
    memory, not by arithmetic.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same shape."""
        return F.silu(x, inplace=not torch.is_grad_enabled())


class ResidualBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), optionally modulated by an embedding.

    Parameters
    ----------
    embedding
        Length of the embedding that scales and shifts the second normalisation; 0 for none.
    dropout
        Rate of channel dropout before the second convolution.
    """

    def __init__(
        self, channels_in: int, channels: int, *, embedding: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = group_norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm2 = group_norm(channels)
        self.modulation = nn.Linear(embedding, 2 * channels) if embedding else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)
        self.act = SiLU()
        self.dropout = nn.Dropout2d(dropout)
        self.conv2 = zero_init(nn.Conv2d(channels, channels, 3, padding=1))
        self.skip: nn.Module = (
            nn.Identity() if channels_in == channels else nn.Conv2d(channels_in, channels, 1)
        )

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Map ``(B, channels_in, H, W)`` to ``(B, channels, H, W)``."""
        y = self.norm2(self.conv1(self.act(self.norm1(x))))
        if self.modulation is not None and embedding is not None:
            scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
            y = torch.addcmul(shift, y, 1 + scale)
        y = self.conv2(self.dropout(self.act(y)))
        # Add in place to y, which only this block uses: saves one large map, and keeps x.
        y += self.skip(x)
        out: Tensor = y
        return out


class SelfAttention(nn.Module):
    """Residual multi-head self-attention over all positions, for the coarsest level only."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, h, w)
        out: Tensor = x + self.out(y)
        return out


class TimeEmbedding(nn.Module):
    """Sinusoidal features of t in [0, 1], then a two-layer perceptron."""

    def __init__(self, channels: int, frequencies: int = 32) -> None:
        super().__init__()
        # 1 to 1000 covers everything from the trend over [0, 1] to single solver steps.
        # Plain floats, not a buffer: a constant is not a weight.
        self.rates = [1000.0 ** (i / (frequencies - 1)) for i in range(frequencies)]
        self.layers = nn.Sequential(
            nn.Linear(2 * frequencies, channels), SiLU(), nn.Linear(channels, channels)
        )

    def zero_init(self) -> None:
        """Initialise every embedding to zero."""
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, t: Tensor) -> Tensor:
        """Map times ``(B,)`` to embeddings ``(B, channels)``."""
        angles = t.float()[:, None] * torch.tensor(self.rates, device=t.device)[None, :]
        out: Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
        return out
