"""The promptable U-Net as a method: one deterministic mask from the same prompts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from benchmarks.accuracy.lite_unet import LiteUNetNetwork
from benchmarks.prompts.answers import Answer, PromptUse
from benchmarks.prompts.settings import MeasureSettings
from benchmarks.prompts.unet_training import CARD, WEIGHTS
from latentfm_core.config import PromptConfig, config_from_mapping
from latentfm_core.errors import ModelFolderError
from latentfm_core.images.canvas import from_canvas
from latentfm_core.images.read import to_rgb
from latentfm_core.inference.device import autocast, resolve_device, resolve_precision, to_device
from latentfm_core.inference.framing import Frame, frame
from latentfm_core.inference.prompting import wants_second_pass, with_box
from latentfm_core.prompts import Prompt, check_prompt
from latentfm_core.types import Float32, ImageInput

THRESHOLD = 0.5


class UNetMethod:
    """Canvas, field around a box and second pass after a click are those of `Segmenter`.

    Parameters
    ----------
    folder
        Written by `train_unet`.
    settings
        Device and precision.

    Raises
    ------
    ModelFolderError
        If the folder does not hold a trained network.
    """

    uses: frozenset[PromptUse] = frozenset({"none", "box", "corrected_box", "clicks"})
    stochastic = False

    def __init__(self, folder: Path, settings: MeasureSettings) -> None:
        try:
            card = json.loads((folder / CARD).read_text("utf-8"))
            state = load_file(folder / WEIGHTS)
            config = config_from_mapping(card["config"])
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelFolderError(
                f"{folder} does not hold a trained U-Net ({error}). Train one with: "
                "python -m benchmarks.prompts train-unet --out FOLDER"
            ) from None
        self.label = str(card["label"])
        self._data, self._prompting = config.data, PromptConfig()
        self._device = resolve_device(settings.device)
        self._dtype = resolve_precision(settings.precision, self._device)
        network = LiteUNetNetwork(config, prompts=True)
        network.load_state_dict(state)
        self._network = to_device(network, self._device).eval()

    def reseed(self, seed: int) -> None:
        """Do nothing: the answers do not depend on a seed."""

    def answer(self, image: ImageInput, prompt: Prompt | None, hypotheses: int | None) -> Answer:
        """Return the mask at probability 0.5."""
        rgb = to_rgb(image)
        meant = None if prompt is None else check_prompt(prompt, (rgb.shape[0], rgb.shape[1]))
        if meant is not None and wants_second_pass(meant, self._prompting):
            seen = self._frame(rgb, meant)
            meant = with_box(meant, self._probability(seen), seen.geometry)
        seen = self._frame(rgb, meant)
        native = from_canvas(self._probability(seen)[0], seen.geometry)
        mask = np.asarray(native >= THRESHOLD)
        return Answer(mask, mask[None])

    def _frame(self, rgb: Float32, prompt: Prompt | None) -> Frame:
        return frame(rgb, prompt, self._data, self._prompting.field_scale)

    @torch.inference_mode()
    def _probability(self, seen: Frame) -> Float32:
        """Return the probabilities ``(1, S, S)`` of a canvas."""
        image = torch.from_numpy(seen.canvas).permute(2, 0, 1)[None].to(self._device)
        maps = None if seen.maps is None else torch.from_numpy(seen.maps)[None].to(self._device)
        with autocast(self._device, self._dtype):
            logits = self._network(image.contiguous(memory_format=torch.channels_last), maps)
        found: Float32 = logits[:, 0].float().sigmoid().cpu().numpy()
        return found
