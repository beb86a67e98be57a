"""Choose the device and floating-point format of a job."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TypeVar

import torch
from torch import nn

from latentfm_core.config import NUMBER_FORMATS, Precision
from latentfm_core.errors import ResourceError
from latentfm_core.names import counted

_DTYPES: dict[Precision, torch.dtype] = {
    name: getattr(torch, full) for name, full in NUMBER_FORMATS.items()
}


def resolve_device(name: str) -> torch.device:
    """Turn ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"`` into a device.

    Raises
    ------
    ResourceError
        If the device does not exist on this machine.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ResourceError(f"{name!r} is not a device; use auto, cpu, cuda or mps.") from None
    present = {"cpu": True, "cuda": cuda, "mps": mps}.get(device.type, False)
    if present and device.type == "cuda" and device.index is not None:
        present = device.index < torch.cuda.device_count()
    if not present:
        raise ResourceError(f"Device {name!r} is not available on this machine; use auto or cpu.")
    return device


def own_device(name: str, local_rank: int) -> str:
    """Return the device of one of several processes: its own GPU for ``"auto"`` or ``"cuda"``.

    Processes share GPUs if there are more processes.
    """
    if name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    return f"cuda:{local_rank % torch.cuda.device_count()}"


_CUDA_WITH_BF16 = (8, 0)
"""Compute capability of the first NVIDIA GPUs that compute in bf16 (Ampere)."""
_BF16_FEATURES = ("avx512_bf16", "amx_bf16")
_ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that limit the instructions of oneDNN, which computes the convolutions."""
_ISAS_WITHOUT_BF16 = (
    "sse41",
    "avx",
    "avx2",
    "avx2_vnni",
    "avx2_vnni_2",
    "avx512_core",
    "avx512_core_vnni",
)
"""Values of these variables under which oneDNN leaves `_BF16_FEATURES` unused."""


def has_bf16(device: torch.device) -> bool:
    """Return whether the hardware computes in bf16; elsewhere PyTorch emulates it slowly.

    Based on the processor and oneDNN's limit, not on a measurement: the samples of a seed depend
    on the choice, so it must be the same at every start. False if PyTorch does not report the
    features of the processor.
    """
    if device.type == "cuda":
        # `torch.cuda.is_bf16_supported` counts emulation, and asks only the current GPU.
        hip = torch.version.hip is not None
        return hip or torch.cuda.get_device_capability(device) >= _CUDA_WITH_BF16
    if device.type != "cpu":
        return False
    limit = next((os.environ[name] for name in _ISA_LIMITS if name in os.environ), "")
    if limit.lower() in _ISAS_WITHOUT_BF16:
        return False
    ask: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    features = ask()
    return any(features.get(name) for name in _BF16_FEATURES)


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the format of the convolutions; ``auto`` is bf16 where the hardware supports it.

    Raises
    ------
    ResourceError
        If the format cannot be used on the device.
    """
    if precision == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    if precision == "fp16" and device.type == "cpu":
        raise ResourceError("fp16 needs a GPU; use precision bf16, fp32 or auto on the CPU.")
    if precision not in _DTYPES:
        names = ", ".join(("auto", *_DTYPES))
        raise ResourceError(f"{precision!r} is not a precision. Choose one of: {names}.")
    return _DTYPES[precision]


def precision_of(dtype: torch.dtype) -> Precision:
    """Return the setting for a format: the inverse of `resolve_precision`."""
    return next(name for name, known in _DTYPES.items() if known == dtype)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` means out of memory on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU and MPS allocators have no specific exception type.
    # oneDNN says "could not create a primitive" when it cannot allocate one.
    known = (
        "not enough memory",
        "can't allocate memory",
        "out of memory",
        "could not create a primitive",
    )
    return isinstance(error, RuntimeError) and any(text in str(error) for text in known)


def release_memory(device: torch.device) -> None:
    """Return unused memory held by PyTorch or the allocator to the system."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    trim = _heap_trimmer()
    if trim is not None:
        trim(0)


@cache
def _heap_trimmer() -> Callable[[int], int] | None:
    """Return glibc's ``malloc_trim``, which takes a few milliseconds; None elsewhere.

    Without it, glibc keeps most of the memory that a run frees, and more after many runs.
    """
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


ModuleT = TypeVar("ModuleT", bound=nn.Module)


def to_device(module: ModuleT, device: torch.device) -> ModuleT:
    """Move a network to a device, with convolution weights in the channels-last layout.

    bf16 convolutions run fastest in that layout on the CPU and on tensor cores.
    """
    module.to(device=device)
    # PyTorch's annotations omit memory_format.
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return the autocast context for `dtype`; a null context for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype)


def describe(device: torch.device, dtype: torch.dtype) -> str:
    """Return a description such as ``"CPU, 2 threads, bfloat16"``."""
    kind = str(dtype).removeprefix("torch.")
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {kind}"
    if device.type == "cpu":
        count = torch.get_num_threads()
        return f"CPU, {counted(count, 'thread')}, {kind}"
    return f"{device.type.upper()}, {kind}"
