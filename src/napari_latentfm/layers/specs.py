"""Specifications of result layers, as pure functions without a viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.utils.colormaps import AVAILABLE_COLORMAPS, Colormap, DirectLabelColormap
from numpy.typing import NDArray

from latentfm_core.colours import CLASS_COLOURS, ROLE_COLOURS, outline_colour, shade
from napari_latentfm.layers.placement import placement, with_leading_axis
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.pyramid import pyramid
from napari_latentfm.layers.stacks import PlaneStack

if TYPE_CHECKING:
    from napari.layers import Image, Layer

    from latentfm_core.types import SampleSet, Summary

Role = Literal["mean_probability", "class_confidence", "confidence", "samples", "mean_mask"]

METADATA_KEY = "latentfm"
CALIBRATED_ROLES: tuple[Role, ...] = ("mean_probability", "confidence")
"""Layers that a calibration changes; masks and samples do not change."""
SAMPLE_AXIS = "sample"
CLASS_AXIS = "class"
TITLES: dict[Role, str] = {
    "mean_probability": "mean probability",
    "class_confidence": "confidence per class",
    "confidence": "confidence",
    "samples": "samples",
    "mean_mask": "mean mask",
}

MEAN_COLOUR, SAMPLE_COLOUR = ROLE_COLOURS["mean mask"], ROLE_COLOURS["sample"]
OTHER_COLOUR = "#999999"
"""Colour of labels without a specific colour."""
LOW_CONFIDENCE = 0.6
"""Confidence of a pixel whose colour is in the legend."""
CONTOURS: dict[Role, int] = {"samples": 1, "mean_mask": 2}
"""napari's `contour` of outlines, which are one pixel wider: at most 3 pixels.

napari finds outlines in the GUI thread, and wider ones take much longer. A large image is drawn
from a coarser level, so that its outlines are as wide on screen as those of a small one.
"""


def own_facts(layer: Layer) -> dict[str, Any]:
    """Return the facts of a result layer; {} for other layers, and for a copy of a result."""
    facts: dict[str, Any] = layer.metadata.get(METADATA_KEY, {})
    # A duplicate of the layer has the same metadata but another id.
    return facts if facts.get("layer_id") == str(layer.unique_id) else {}


@dataclass(frozen=True)
class LayerSpec:
    """Specification of one result layer.

    Attributes
    ----------
    kind
        napari's name of the layer type.
    data
        Labels: uint8, 1 inside or the number of the class. Images: float32 in [0, 1].
    space
        Transform, units and axis labels; written at every run.
    look
        Colours, opacity, visibility of a new layer; later they are up to the user.
    metadata
        Provenance, under `METADATA_KEY` of the layer's metadata.
    pyramid_axes
        The two axes of `data` along which a large plane has coarser levels; None for a small
        plane or a stack.
    """

    role: Role
    kind: Literal["image", "labels"]
    data: NDArray[Any]
    name: str
    space: dict[str, Any]
    look: dict[str, Any]
    metadata: dict[str, Any]
    pyramid_axes: tuple[int, int] | None = None

    @property
    def levels(self) -> Any:
        """Data of the layer: the array, or those of a pyramid."""
        return self.data if self.pyramid_axes is None else pyramid(self.data, self.pyramid_axes)


def result_layers(
    source: Image, plane: Plane | PlaneStack, samples: SampleSet, summary: Summary
) -> list[LayerSpec]:
    """Return the result layers of one run, from bottom to top.

    A model with several classes has a fifth one, the confidence of each class, and its mean
    probability has a plane for the background and one for each class.

    Parameters
    ----------
    samples, summary
        Samples, and their summary; its arrays are ``(H, W)`` for a plane, and ``(P, H, W)`` for
        P planes.
    """
    flat = placement(source, plane)
    several = summary.class_confidence is not None
    by_class = with_leading_axis(flat, CLASS_AXIS) if several else flat
    spaces = {
        "samples": with_leading_axis(flat, SAMPLE_AXIS),
        "class_confidence": by_class,
        "mean_probability": by_class,
    }
    shared = provenance(source, plane, samples)
    mapped: dict[str, Any] = {"calibrated": summary.calibrated}
    if summary.expected_dice is not None:
        mapped["expected_dice"] = summary.expected_dice
    if summary.domain_score is not None:
        shared["domain_score"] = summary.domain_score
    axes = plane.pyramid_axes

    def spec(role: Role, values: NDArray[Any]) -> LayerSpec:
        return LayerSpec(
            role=role,
            kind="image" if values.dtype == np.float32 else "labels",
            data=plane.embed(layer_data(values, axes is None)),
            name=f"{source.name}{plane.label()} · {TITLES[role]}",
            space=spaces.get(role, flat),
            look=look(role, several, samples.colours),
            metadata={"role": role, **shared, **(mapped if role in CALIBRATED_ROLES else {})},
            pyramid_axes=None if axes is None else _shifted(axes, values.ndim - 2),
        )

    maps: dict[Role, NDArray[Any] | None] = {
        "mean_probability": summary.mean_probability,
        "class_confidence": summary.class_confidence,
        "confidence": summary.confidence,
        "samples": summary.sample_masks,
        "mean_mask": summary.mean_mask,
    }
    return [spec(role, values) for role, values in maps.items() if values is not None]


def layer_data(values: NDArray[Any], can_be_painted: bool) -> NDArray[Any]:
    """Return maps unchanged, and masks as labels; painting on these must not change the result."""
    if values.dtype == np.float32:
        return values
    # Seen as uint8 without a copy: the labels of napari are integers.
    labels = values.view(np.uint8) if values.dtype == bool else values
    return labels.copy() if can_be_painted else labels


def look(role: Role, several: bool, own: Sequence[str] = ()) -> dict[str, Any]:
    """Return colours, opacity and visibility of a new result layer.

    Parameters
    ----------
    several
        Whether the model has several classes.
    own
        The model's own colours of its classes; empty if it has none.
    """
    image: dict[str, Any] = {"contrast_limits": (0.0, 1.0), "opacity": 0.7}
    confidence = {**image, "colormap": confidence_colormap()}
    looks: dict[Role, dict[str, Any]] = {
        "mean_probability": {**image, "colormap": "viridis", "visible": False},
        "class_confidence": {**confidence, "visible": False},
        "confidence": confidence,
        "samples": {
            "colormap": _class_colours(own) if several else _label_colours(sample_colour(own)),
            "contour": CONTOURS["samples"],
            "opacity": 0.9,
        },
        "mean_mask": {
            "colormap": _class_colours(own) if several else _label_colours(mean_colour(own)),
            "contour": CONTOURS["mean_mask"],
            "opacity": 0.9,
        },
    }
    return looks[role]


def mean_colour(own: Sequence[str] = ()) -> str:
    """Return the colour of the mean mask of a model with one class."""
    return own[0] if own else MEAN_COLOUR


def sample_colour(own: Sequence[str] = ()) -> str:
    """Return the colour of samples of a model with one class, which lie on the mean mask."""
    return shade(own[0]) if own else SAMPLE_COLOUR


def provenance(source: Image, plane: Plane | PlaneStack, samples: SampleSet) -> dict[str, Any]:
    """Return source and settings of a result as JSON values."""
    return {
        "source": source.name,
        "source_id": str(source.unique_id),
        **plane.facts(),
        **samples.record.to_json(),
        "seed": samples.seeds[0],
        "n_samples": len(samples),
        # Whether maps are calibrated is stored with each, because it can change without a new run.
        "settings": {key: v for key, v in samples.settings.items() if key != "calibrated"},
    }


def _shifted(axes: tuple[int, int], by: int) -> tuple[int, int]:
    return axes[0] + by, axes[1] + by


def confidence_colormap() -> Colormap:
    """Return plasma from yellow (no agreement) to clear blue (every sample agrees).

    Where the model is sure, the map is transparent and the image stays visible. Plasma is
    perceptually uniform and readable with every kind of colour vision.
    """
    colors = np.array(AVAILABLE_COLORMAPS["plasma"].colors)[::-1].copy()
    colors[:, 3] = np.minimum(1.0, 3.0 * (1.0 - np.linspace(0.0, 1.0, len(colors))))
    return Colormap(colors, name="latentfm confidence", display_name="confidence")


def confidence_colour() -> str:
    """Return the colour in which the confidence map shows that samples disagree."""
    red, green, blue, _ = confidence_colormap().map(LOW_CONFIDENCE)[0]
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _class_colours(own: Sequence[str]) -> DirectLabelColormap:
    """Return one colour per class."""
    colours: dict[int | None, str] = {
        label: outline_colour(label, own) for label in range(1, 1 + 4 * len(CLASS_COLOURS) + 4)
    }
    return DirectLabelColormap(
        color_dict={0: "transparent", None: OTHER_COLOUR, **colours}, background_value=0
    )


def _label_colours(colour: str) -> DirectLabelColormap:
    return DirectLabelColormap(
        color_dict={0: "transparent", 1: colour, None: OTHER_COLOUR}, background_value=0
    )
