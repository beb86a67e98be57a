"""Best and worst cases in an evaluation report, with outlines of experts and samples."""

from __future__ import annotations

from collections.abc import Sequence

from latentfm_core.evaluation.evaluate import Evaluation
from latentfm_core.report.charts import DASHES, legend
from latentfm_core.report.gallery import CasePictures, Gallery
from latentfm_core.report.page import figure, section, text
from latentfm_core.report.pictures import confidence_scale
from latentfm_core.report.table import anchor, short

EXPERT, MEAN, SAMPLE = "#009e73", "#56b4e9", "#e69f00"
"""Okabe-Ito; mean and samples as in the viewer's layers."""


def cases_section(
    title: str, indices: Sequence[int], evaluation: Evaluation, gallery: Gallery
) -> str:
    """Return the images at `indices` with their outlines; empty if there are none."""
    if not indices:
        return ""
    entries = [
        ("expert", EXPERT, ""),
        ("mean mask", MEAN, ""),
        ("samples", SAMPLE, ""),
    ]
    if len(gallery.classes) > 1:
        entries += [(name, "#888888", dash(k)) for k, name in enumerate(gallery.classes)]
    scale = f"<p>Confidence, right of each image: {confidence_scale()}</p>"
    each = "".join(_case(index, evaluation, gallery) for index in indices)
    return section(title, f'{legend(entries)}{scale}<div class="grid cases">{each}</div>')


def dash(class_index: int) -> str:
    """Return the dashes of a class's outlines; the colour shows the source."""
    return DASHES[class_index % len(DASHES)]


def _case(index: int, evaluation: Evaluation, gallery: Gallery) -> str:
    score, pictures = evaluation.scores[index], gallery.pictures(index)
    name = text(score.name)
    box = f'viewBox="0 0 {pictures.width} {pictures.height}"'
    size = f'width="{pictures.width}" height="{pictures.height}"'
    left = (
        f'<svg {box} role="img" aria-label="{name} with the outlines of expert, mean mask and '
        f'samples"><image href="{pictures.image}" {size}/>{_outlines(pictures)}</svg>'
    )
    right = f'<img src="{pictures.confidence}" {size} alt="Confidence map of {name}">'
    if index in gallery.rows():
        name = f'<a href="#{anchor(index)}">{name}</a>'
    # NaN (unknown) is not above 1.
    unlike = "; unlike the training images" if score.domain_score > 1 else ""
    caption = (
        f"{name}: Dice {score.dice:.3f}, of samples "
        f"{score.sample_dice:.3f}, expected {short(score.expected_dice)}{unlike}"
    )
    return figure(f'<div class="pair">{left}{right}</div>', caption)


def _outlines(pictures: CasePictures) -> str:
    # Draw numerous outlines paler and thinner; expert and mean mask on top.
    parts = [_paths(mask, SAMPLE, 0.8, 0.75) for mask in pictures.samples]
    parts += [_paths(mask, EXPERT, 2.0, 1.0) for mask in pictures.experts]
    parts.append(_paths(pictures.mean, MEAN, 2.0, 1.0))
    return "".join(parts)


def _paths(classes: Sequence[str], colour: str, width: float, opacity: float) -> str:
    style = (
        f'fill="none" stroke="{colour}" stroke-width="{width}" stroke-opacity="{opacity}" '
        'vector-effect="non-scaling-stroke"'
    )
    return "".join(
        f'<path d="{path}" {style} stroke-dasharray="{dash(k) or "none"}"/>'
        for k, path in enumerate(classes)
        if path
    )
