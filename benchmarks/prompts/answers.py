"""Interface of the compared methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from latentfm_core.prompts import Prompt
from latentfm_core.types import Bool, ImageInput

PromptUse = Literal["none", "box", "corrected_box", "clicks"]
"""Kinds of prompts: none, a box, a box and a click, clicks only."""


@dataclass(frozen=True)
class Answer:
    """Answer of a method to one prompt.

    Attributes
    ----------
    mask
        ``(H, W)`` bool, the single mask that a user gets.
    samples
        ``(N, H, W)`` bool, the masks among which a user may choose; one for a deterministic
        method.
    """

    mask: Bool
    samples: Bool


class Method(Protocol):
    """A way to turn an image and a prompt into a mask.

    Attributes
    ----------
    label
        Name in the table.
    uses
        The supported prompts.
    stochastic
        Whether answers depend on a seed and there are samples to choose from.
    """

    label: str
    uses: frozenset[PromptUse]
    stochastic: bool

    def answer(self, image: ImageInput, prompt: Prompt | None, hypotheses: int | None) -> Answer:
        """Answer a prompt.

        Parameters
        ----------
        image
            The image.
        prompt
            A box, points, or both; None without a prompt.
        hypotheses
            Number of samples; None draws as many as a user gets by default.
        """
        ...

    def reseed(self, seed: int) -> None:
        """Set the base seed of the following answers."""
        ...
