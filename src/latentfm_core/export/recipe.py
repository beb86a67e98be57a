"""The recipe ``sampling.json``: how to run exported ONNX files without this package."""

from __future__ import annotations

from typing import Any

from latentfm_core.config import PromptConfig, SamplingConfig
from latentfm_core.export.onnx_file import OPSET
from latentfm_core.flow.solvers import TABLEAUS
from latentfm_core.images.canvas import Fit, canvas_geometry
from latentfm_core.inference.box_alignment import LOOSE, SAME_OBJECT, TIGHT
from latentfm_core.inference.pieces import SMALLEST
from latentfm_core.inference.prompting import CONTRADICTED
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.card import ModelCard
from latentfm_core.output.sidecar import versions
from latentfm_core.prompts.field import FIELD_SCALE, MIN_FIELD
from latentfm_core.prompts.maps import POINT_RADIUS
from latentfm_core.uncertainty.summary import SAMPLE_THRESHOLD

NOISE = "noise.npy"
_EXAMPLES = ((300, 401), (401, 300), (1000, 3))
"""Heights and widths whose canvas position the recipe gives, to test a program."""


def canvas_of(size: int, fit: Fit) -> dict[str, Any]:
    """Return how an image gets onto the canvas of side `size`, and its maps back."""
    whole = {"rows": str(size), "columns": str(size), "top": "0", "left": "0"}
    padded = {
        "rows": f"min({size}, max(1, round(height * ({size} / max(height, width)))))",
        "columns": f"min({size}, max(1, round(width * ({size} / max(height, width)))))",
        "top": f"({size} - rows) // 2",
        "left": f"({size} - columns) // 2",
    }
    examples = []
    for height, width in _EXAMPLES:
        top, left, rows, columns = canvas_geometry((height, width), size, fit).box
        place = {"top": top, "left": left, "rows": rows, "columns": columns}
        examples.append({"height": height, "width": width, **place})
    return {
        "content": padded if fit == "pad" else whole,
        "rounding": "round: to the nearest whole number, ties to even; //: rounded down",
        "padding": "the content lies at rows top to top + rows - 1 and columns left to "
        "left + columns - 1 of the canvas; the rest, if there is any, repeats the nearest edge "
        "pixel of the content (numpy.pad, mode edge)",
        "resampling": "bilinear, half-pixel centres, antialiased if a side shrinks: "
        "torch.nn.functional.interpolate(mode='bilinear', align_corners=False, antialias=True), "
        "then clipped to [0, 1]",
        "back": "cut the content out of a map of the canvas, and resample it in the same way to "
        "height x width; padding is discarded",
        "examples": examples,
    }


def prompt_of(card: ModelCard) -> dict[str, Any]:
    """Return how prompts become an input of ``prompt_encoder.onnx``, and their calibrations."""
    size, fitted = card.config.data.size, card.prompt_calibrations
    return {
        "files": ["image_encoder.onnx", "prompt_encoder.onnx"],
        "means": "features = image_encoder(image), once for an image or field; maps = "
        "prompt_encoder(prompt, features), once for a prompt; they replace those of "
        "condition.onnx, which has no prompt",
        "shape": [1, 4, size, size],
        "dtype": "float32",
        "coordinates": "canvas pixels: y_canvas = top + (y - field_top) * rows / field_height, x "
        "likewise; a pixel's centre is at + 0.5",
        "channels": ["box", "positive marks", "negative marks", "rough mask"],
        "box": "1 at rows round(y0) to round(y1) - 1 and columns round(x0) to round(x1) - 1, at "
        "least one of each; elsewhere 0",
        "marks": "1 where the pixel's centre is at most radius away from the point, or stroked; "
        "elsewhere 0",
        "radius": max(1.0, POINT_RADIUS * size),
        "rough_mask": "1 inside, -1 outside; 0 everywhere without a rough mask",
        "field": {
            "side": f"max({MIN_FIELD}, round({FIELD_SCALE:g} * longer side of the box))",
            "means": "with a box (of the rough mask if there is no box; extended to all positive "
            "points), the image is first cut to the square of this side: from "
            "round((y0 + y1 - side) / 2), likewise for x, clipped to the image. The field takes "
            "the place of the image. If side is at least the longer side of the image, the whole "
            "image is used, as without a box",
            "points_only": "a first run on the whole image gives the extent of the object, which "
            "is the box of a second run",
        },
        "alignment": _alignment(),
        "calibration": {
            "means": "of results with a prompt, in place of calibration, mean_mask_threshold and "
            "standard_deviation, which are of results without one. box: any prompt with a box or a "
            "rough mask; point: any other; null: not fitted, threshold 0.5, standard deviation 1",
            **{
                group: fitted[group].model_dump(mode="json") if group in fitted else None
                for group in ("box", "point")
            },
        },
    }


def _alignment() -> dict[str, Any]:
    """Return how samples are aligned with a box."""
    return {
        "share": PromptConfig().box_alignment,
        "tight": TIGHT,
        "loose": LOOSE,
        "same_object": SAME_OBJECT,
        "contradicted": CONTRADICTED,
        "specks": SMALLEST,
        "means": "with a box, but without a rough mask, each sample is stretched along rows "
        "and columns so that the edges of its outline (probability 0.5) move by share * trust "
        "of the way to those of the box. trust = clip((loose - gap) / (loose - tight), 0, 1), "
        "gap = mean over the edges of the distance from the outline out to the box, divided by "
        "the side of the box. Pieces of an outline below specks of its largest do not count. A "
        "sample stays as drawn if its outline is empty, or the IoU of "
        "its extent and the box is below same_object; all samples do if the IoU of the box and "
        "the box around it and the positive marks is below contradicted",
    }


def facts_of(segmenter: Segmenter) -> dict[str, str]:
    """Return the model metadata of every exported file."""
    card = segmenter.card
    return {
        "model": card.id,
        "model_sha256": card.weights_sha256,
        "licence": card.licence,
        "intended_use": card.intended_use,
        "made_by": f"napari-latentfm {versions()['napari-latentfm']}",
    }


def recipe(
    segmenter: Segmenter, settings: SamplingConfig, maps: list[str], files: dict[str, str]
) -> dict[str, Any]:
    """Return the content of ``sampling.json``.

    Parameters
    ----------
    settings
        Resolved.
    files
        SHA-256 of each file by its name.
    """
    card = segmenter.card
    data, distilled = card.config.data, card.config.model.distilled_steps
    classes = list(card.config.model.classes)
    return {
        "format": "latentfm-onnx",
        "format_version": 1,
        "opset": OPSET,
        **facts_of(segmenter),
        "files": files,
        "image": {
            "shape": [1, 3, data.size, data.size],
            "dtype": "float32",
            "channels": "red, green, blue; a grey image repeated",
            "range": [0, 1],
            "fit": data.fit,
            **canvas_of(data.size, data.fit),
        },
        "noise": _noise_of(segmenter, settings),
        "ode": _ode_of(settings, maps),
        "few_steps": None
        if not distilled
        else {
            "most_steps": distilled,
            "solver": "euler",
            "means": "runs of at most this many Euler steps use condition_few_steps.onnx and "
            "velocity_few_steps.onnx, with h = 1 / steps as one more input",
        },
        "prompt": prompt_of(card) if card.config.model.prompts else None,
        "decoder": {
            "channels": classes if len(classes) == 1 else ["background", *classes],
            "sample_mask": f"probability >= {SAMPLE_THRESHOLD}; of several classes the argmax",
            "mean_mask_threshold": settings.threshold,
        },
        "calibration": None
        if card.calibration is None
        else card.calibration.model_dump(mode="json"),
    }


def _noise_of(segmenter: Segmenter, settings: SamplingConfig) -> dict[str, Any]:
    model = segmenter.model
    side = segmenter.card.config.data.size // model.config.downsample
    return {
        "shape": ["samples", model.latent_channels, side, side],
        "distribution": "normal, with mean 0 and this standard deviation",
        "standard_deviation": settings.noise_scale,
        "file": NOISE,
        "seeds_of_file": [settings.seed, settings.seed + settings.n_samples - 1],
        "seed": "sample n: standard_deviation * torch.randn(shape[1:], "
        "generator=torch.Generator().manual_seed(seed + n)) on the CPU; any "
        "other source of noise gives other samples of the same distribution",
    }


def _ode_of(settings: SamplingConfig, maps: list[str]) -> dict[str, Any]:
    return {
        "equation": "dz/dt = v(t, z, maps) from t = 0 (z = noise) to t = 1",
        "maps": maps,
        "steps": settings.ode_steps,
        "solver": settings.solver,
        "step": "h = 1 / steps; stage i: s_i = v(t + nodes[i] h, z + h sum_j stages[i][j] s_j);"
        " then z + h sum_i weights[i] s_i",
        "solvers": {
            name: {"nodes": t.nodes, "stages": t.stages, "weights": t.weights}
            for name, t in TABLEAUS.items()
        },
    }
