"""Settings of the network architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from latentfm_core.config.base import Blocks, ClassName, Colour, Settings, Width


class ModelConfig(Settings):
    """Sizes of the networks.

    Attributes
    ----------
    classes
        Names of the foreground classes: the value k of a mask is ``classes[k - 1]``, 0 is
        background. With one class, masks are binary.
    class_colours
        Colour of each class as ``"#rrggbb"``, in the order of `classes`: in the window, in
        reports and in exported files. Empty for the default palette.
    latent_channels
        c of the mask (and image) latent.
    downsample
        f: the latent has side `size / f`.
    vae_width
        Channels of the VAEs at the finest stage.
    mask_patch
        Side of the pixel-unshuffle patch at the mask VAE's ends (1 = plain convolutions).
    condition
        ``"frozen"`` conditions the velocity network on the frozen image-VAE latent, as in the
        paper; ``"multiscale"`` trains an encoder with features at several scales together
        with the flow, from random weights; ``"pretrained"`` does the same with
        EfficientNet-Lite (Tan & Le 2019) from ImageNet weights, without an image VAE.
    encoder
        Variant of EfficientNet-Lite, if `condition` is ``"pretrained"``.
    prompts
        Also condition the flow on boxes, points, strokes and rough masks. Needs one class and
        a trained encoder.
    condition_widths
        Channels of the trained encoder at strides 4, 8, 16 and 32.
    condition_blocks
        Residual blocks of the trained encoder at the same strides.
    velocity_widths
        Channels of the velocity U-Net per level; level 0 has the latent's resolution.
    velocity_blocks
        Residual blocks per level on the way down.
    dropout
        Dropout rate inside the residual blocks of the trained condition encoder.
    distilled_steps
        Runs of at most this many Euler steps use a second velocity network, distilled for
        steps of that length (stage ``distill``); 0 disables it.
    """

    classes: Annotated[tuple[ClassName, ...], Field(min_length=1, max_length=32)] = ("object",)
    class_colours: Annotated[tuple[Colour, ...], Field(max_length=32)] = ()
    latent_channels: Annotated[int, Field(ge=1, le=32)] = 4
    downsample: Literal[4, 8] = 8
    vae_width: Annotated[int, Field(ge=8, le=256, multiple_of=8)] = 32
    mask_patch: Literal[1, 2, 4] = 4
    condition: Literal["frozen", "multiscale", "pretrained"] = "multiscale"
    encoder: Literal["lite0", "lite1", "lite2"] = "lite0"
    prompts: bool = False
    condition_widths: tuple[Width, Width, Width, Width] = (48, 96, 192, 256)
    condition_blocks: tuple[Blocks, Blocks, Blocks, Blocks] = (1, 2, 2, 2)
    velocity_widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (48, 96, 192)
    velocity_blocks: Blocks = 1
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    distilled_steps: Annotated[int, Field(ge=0, le=8)] = 0

    @model_validator(mode="after")
    def _check_patch(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must have different names")
        self._check_colours()
        if self.mask_patch > self.downsample:
            raise ValueError("mask_patch must not exceed downsample")
        if self.prompts and len(self.classes) > 1:
            raise ValueError(
                f"prompts need a model of one class, and classes names {len(self.classes)} "
                f"({', '.join(self.classes)}). Set model.prompts = false, or name one class"
            )
        if self.prompts and self.condition == "frozen":
            raise ValueError('prompts need condition "multiscale" or "pretrained"')
        return self

    def _check_colours(self) -> None:
        count, needed = len(self.class_colours), len(self.classes)
        if count not in (0, needed):
            raise ValueError(
                f"class_colours names {count} colour{'s' if count > 1 else ''}, and classes has "
                f"{needed} ({', '.join(self.classes)}). Name one colour for each class in the "
                "same order, or none for the default palette"
            )
        twice = [colour for colour in self.class_colours if self.class_colours.count(colour) > 1]
        if twice:
            same = [
                name
                for name, colour in zip(self.classes, self.class_colours, strict=True)
                if colour == twice[0]
            ]
            raise ValueError(
                f"class_colours gives {twice[0]} to {' and '.join(same)}. Choose a different "
                "colour for each class"
            )

    def colours_of(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the colours of classes by their names; empty unless all of them have one."""
        known = dict(zip(self.classes, self.class_colours, strict=False))
        return tuple(known[name] for name in names) if set(names) <= known.keys() else ()

    @property
    def mask_channels(self) -> int:
        """Channels of the mask VAE: 1 for binary masks, else one-hot with background first."""
        return 1 if len(self.classes) == 1 else len(self.classes) + 1
