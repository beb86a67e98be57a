"""Depthwise convolution whose gradients avoid slow bf16 kernels of the CPU.

In bf16, oneDNN computes two gradients of depthwise convolutions 20 to 50 times slower than the
forward pass (PyTorch 2.13): those at stride 2, and the weight gradient of 5 x 5 kernels. Here the
former are computed in float32 and the latter as four overlapping 3 x 3 gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def depthwise_conv2d(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Convolve each channel of `x` with its own kernel, in the dtype of `x`.

    Parameters
    ----------
    x
        ``(B, C, H, W)``.
    weight
        ``(C, 1, k, k)`` with k = 3 or 5.
    stride, padding
        As in `torch.nn.functional.conv2d`.
    """
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return F.conv2d(x, weight, None, stride, padding, 1, x.shape[1])
    apply: Callable[..., Tensor] = _DepthwiseConv.apply
    return apply(x, weight.to(x.dtype), stride, padding)


class _DepthwiseConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        g = gradient.contiguous(memory_format=torch.channels_last)
        if stride == 2 and x.dtype == torch.bfloat16:
            dx, dw = _gradients(
                g.float(), x.float(), weight.float(), stride, padding, needs_x, needs_weight
            )
            return _cast(dx, x.dtype), _cast(dw, weight.dtype), None, None
        if weight.shape[-1] != 5 or x.dtype != torch.bfloat16:
            return *_gradients(g, x, weight, stride, padding, needs_x, needs_weight), None, None
        dx, _ = _gradients(g, x, weight, stride, padding, needs_x, False)
        dw = _weight_gradient_in_parts(g, x, weight, padding) if needs_weight else None
        return dx, dw, None, None


def _weight_gradient_in_parts(g: Tensor, x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Return the gradient of ``(C, 1, 5, 5)`` weights at stride 1 from four 3 x 3 gradients."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (padding,) * 4)
    corner = weight[:, :, :3, :3].contiguous()
    out = torch.empty_like(weight)
    for top in (0, 2):
        for left in (0, 2):
            seen = padded[:, :, top : top + height + 2, left : left + width + 2]
            seen = seen.contiguous(memory_format=torch.channels_last)
            _, part = _gradients(g, seen, corner, 1, 0, False, True)
            if part is not None:
                out[:, :, top : top + 3, left : left + 3] = part
    return out


def _gradients(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    padding: int,
    needs_x: bool,
    needs_weight: bool,
) -> tuple[Tensor | None, Tensor | None]:
    if not (needs_x or needs_weight):
        return None, None
    dx, dw, _ = torch.ops.aten.convolution_backward(
        g,
        x,
        weight,
        [0],
        [stride] * 2,
        [padding] * 2,
        [1, 1],
        False,
        [0, 0],
        x.shape[1],
        [needs_x, needs_weight, False],
    )
    return dx, dw


def _cast(value: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if value is None else value.to(dtype)
