"""Multi-process training with Lightning Fabric, with a single-process fallback.

Fabric connects the processes that ``torchrun`` started, wraps the network so that gradients are
averaged while they are computed, and selects the back end for each kind of device. It is needed by
runs of several processes only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latentfm_core.errors import ConfigError, ResourceError
from latentfm_core.inference.device import resolve_device
from latentfm_core.torchrun import Launch, read_launch
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.stages import Batch, Losses, Stage

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LossesOf = Callable[[Batch, GlobalBatch], Losses]

TIMEOUT = timedelta(minutes=30)
"""Timeout for another process; reading the images takes longest."""

_LOST = ("connection closed by peer", "connection reset by peer", "gloo", "nccl", "timed out")


class ProcessGroup:
    """A single training process."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size, self.device = 0, 1, device

    @property
    def first(self) -> bool:
        """Whether this process logs and writes for all."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """Return the rows of a batch of `total` that this process takes."""
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    def wrap(self, stage: Stage) -> LossesOf:
        """Return ``stage.losses``, with gradients that `backward` averages over the processes."""
        return stage.losses

    def backward(self, loss: Tensor, weight: float) -> None:
        """Compute the gradients of the mean loss.

        Parameters
        ----------
        weight
            Share of this process's rows in the batch.
        """
        loss.backward()

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over the processes."""
        return values

    def agree(
        self, figures: Tensor, weight: float, decisions: Sequence[float]
    ) -> tuple[list[float], list[float]]:
        """Return the means over the processes: of `figures` weighted by `weight`, and of `own`."""
        return figures.tolist(), list(decisions)

    def wait(self) -> None:
        """Wait until every process has reached this point."""

    @contextmanager
    def local_first(self) -> Iterator[None]:
        """Let one process of each machine go through the block before the others."""
        yield

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise a readable error if the block fails because another process has stopped."""
        yield


class FabricGroup(ProcessGroup):
    """Several processes on one or more machines."""

    def __init__(self, fabric: Fabric) -> None:
        super().__init__(fabric.device)
        self.rank, self.size = fabric.global_rank, fabric.world_size
        self._fabric = fabric

    def wrap(self, stage: Stage) -> LossesOf:
        """Return the losses of `stage`, computed by a network that averages its gradients."""
        wrapped = self._fabric.setup_module(_StageLosses(stage), move_to_device=False)

        def losses(batch: Batch, global_batch: GlobalBatch) -> Losses:
            wrapped_losses: Losses = wrapped(batch, global_batch)
            return wrapped_losses

        return losses

    def backward(self, loss: Tensor, weight: float) -> None:
        """Compute gradients and average them, weighted by the rows of each process."""
        self._fabric.backward(loss * (weight * self.size))

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over the processes."""
        total = self._fabric.all_reduce(values.to(self.device), reduce_op="sum")
        if not isinstance(total, Tensor):
            raise TypeError(f"a sum of tensors became {type(total).__name__}")
        return total

    def agree(
        self, figures: Tensor, weight: float, decisions: Sequence[float]
    ) -> tuple[list[float], list[float]]:
        """Exchange all values in one message."""
        mine = torch.tensor(decisions, dtype=figures.dtype, device=figures.device) / self.size
        totals = self.sum(torch.cat([figures * weight, mine])).tolist()
        return totals[: len(figures)], totals[len(figures) :]

    def wait(self) -> None:
        """Wait until every process has reached this point."""
        self._fabric.barrier()

    @contextmanager
    def local_first(self) -> Iterator[None]:
        """Let one process of each machine go through the block before the others."""
        if self._fabric.local_rank:
            self.wait()
        yield
        if not self._fabric.local_rank:
            self.wait()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise a readable error if the block fails because another process has stopped."""
        try:
            yield
        except RuntimeError as error:
            if not any(text in str(error).lower() for text in _LOST):
                raise
            raise ResourceError(
                "Another process of this run has stopped or cannot be reached; its own message "
                "says why. --resume continues from the last checkpoint, with any number of "
                "processes."
            ) from error


class _StageLosses(nn.Module):
    """The losses of a stage as the forward pass of a module, so that Fabric can wrap it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.model = stage.model
        self._stage = stage

    def forward(self, batch: Batch, global_batch: GlobalBatch) -> Losses:
        return self._stage.losses(batch, global_batch)


def join_processes(device: str) -> ProcessGroup:
    """Join the processes that were started with this one, or train in one process.

    Raises
    ------
    ConfigError
        If Fabric is not installed, or processes cannot share the device.
    ResourceError
        If the device does not exist, or a machine has fewer GPUs than processes.
    """
    launch = read_launch()
    if launch.size == 1:
        return ProcessGroup(resolve_device(device))
    kind = resolve_device(device).type
    if kind == "mps" or device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"Several processes cannot train on {device!r}: use --device cuda, where each takes "
            "its own GPU, or --device cpu."
        )
    gpus = torch.cuda.device_count()
    if kind == "cuda" and gpus < launch.local_size:
        raise ResourceError(
            f"{launch.local_size} processes were started on this machine, which has {gpus} GPUs. "
            f"Start one for each: torchrun --nproc-per-node={gpus}."
        )
    return FabricGroup(_launched(kind, launch))


def _launched(kind: str, launch: Launch) -> Fabric:
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError:
        raise ConfigError(
            "Multi-process training needs Lightning Fabric, which is not installed: "
            "pip install 'napari-latentfm[distributed]'."
        ) from None
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=kind,
        devices=launch.local_size,
        num_nodes=launch.size // launch.local_size,
        strategy=DDPStrategy(timeout=TIMEOUT),
        plugins=[TorchElasticEnvironment()],
    )
    fabric.launch()
    return fabric
