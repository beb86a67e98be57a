"""Input of a training step: the images of its batch, at the side that the stage requests."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.training.batch_source import BatchLoader, ImageSource
from latentfm_core.training.batches import draw_raters, seed_for
from latentfm_core.training.object_source import ObjectSource
from latentfm_core.training.stage import BatchSource, Stage
from latentfm_core.training.step_timer import StepTimer


class StageInput:
    """Makes the inputs of the steps of a stage.

    Parameters
    ----------
    stage
        The stage; it chooses the side of the images and the seed of a step.
    device, dtype
        Device of the batches, and data type of networks that run without gradients.
    """

    def __init__(
        self, stage: Stage, data: CanvasSet | ObjectSet, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.timer = StepTimer(device)
        self._stage, self._device, self._dtype = stage, device, dtype
        self._source: BatchLoader | ObjectSet = (
            BatchLoader(data, stage.config.model.mask_channels, device)
            if isinstance(data, CanvasSet)
            else data
        )

    def at(self, step: int, index: NDArray[np.intp], rows: slice, done: float) -> BatchSource:
        """Return the input of `step`.

        Parameters
        ----------
        index
            Images of the whole batch.
        rows
            Part of them for this process.
        done
            Finished share of the stage.
        """
        size, draws = self._stage.size_at(done), self._stage.draws(step)
        if isinstance(self._source, BatchLoader):
            raters = draw_raters(self._source.canvases, index, draws)[rows]
            return ImageSource(self._source, index[rows], raters, size, self.timer, self._dtype)
        seeds = tuple(seed_for(draws, row) for row in range(len(index)))[rows]
        return ObjectSource(
            self._source, index[rows], seeds, size, self.timer, self._device, self._dtype
        )
