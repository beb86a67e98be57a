"""Summary of images and reference masks that a command prints before its work."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from latentfm_core.config import READING, ReadingConfig, SamplingConfig
from latentfm_core.datasets.facts import MaskFacts, copies, mask_facts
from latentfm_core.datasets.groups import groups_text
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.plausibility import (
    copy_findings,
    log_findings,
    mask_findings,
    size_findings,
)
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.datasets.stored_findings import stored_findings
from latentfm_core.datasets.summary import (
    duration,
    log_summary,
    mask_rows,
    megabytes,
    size_text,
    stored_rows,
)
from latentfm_core.evaluation.evaluate import Case
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.names import counted

_ENOUGH = 5
"""Fewest images for a time estimate, which costs the time of one image."""


class Survey:
    """Facts about images and masks, collected while each is read once."""

    def __init__(self, classes: Sequence[str], limits: ReadingConfig = READING) -> None:
        self.classes = tuple(classes)
        self._limits = limits
        self.masks: list[MaskFacts] = []
        self.sizes: list[tuple[int, int]] = []
        self.pairs: list[Pair] = []
        self.stored: list[StoredPair] = []
        self.first: Case | None = None

    def add(self, pair: Pair, case: Case, stored: StoredPair) -> None:
        """Record one image and its masks."""
        rows, columns = case.image.pixels.shape[:2]
        self.pairs.append(pair)
        self.stored.append(stored)
        self.sizes.append((rows, columns))
        for mask, objects in zip(case.references, stored.objects, strict=True):
            self.masks.append(mask_facts(pair.name, mask, len(self.classes), objects))
        self.first = self.first or case

    def log(
        self,
        segmenter: Segmenter,
        settings: SamplingConfig,
        part: str,
        threshold: float | None,
        *,
        draws: int = 1,
        objects: int = 0,
        stops: bool = False,
        groups: Mapping[str, str] | None = None,
    ) -> None:
        """Log the data summary and warn about implausible data.

        Parameters
        ----------
        part
            The part of the data, or "".
        draws
            Number of times each image is sampled.
        objects
            Number of objects that are sampled, if they are instead of images.
        groups
            Group of each image, if there are groups.
        stops
            Whether to refuse masks that are all empty or all full. With a threshold they are
            always refused.

        Raises
        ------
        DatasetError
            If such masks are refused, or masks that mark their foreground in unusual ways.
        """
        findings = [
            *mask_findings(
                self.masks, self.classes, threshold, stops=stops or threshold is not None
            ),
            *stored_findings(self.stored),
            *size_findings(self.sizes),
            *copy_findings(copies({"": self.pairs})),
        ]
        stopped = any(finding.stops for finding in findings)
        raters = max((len(pair.masks) for pair in self.pairs), default=1)
        log_summary(
            {
                "device": segmenter.device_label,
                "images": f"{len(self.pairs)}{f' of the part {part}' if part else ''}",
                "sizes": size_text(self.sizes),
                **stored_rows(self.stored, self._limits),
                "groups": groups_text(groups) if groups else "",
                "masks": f"{len(self.masks)}, up to {raters} per image",
                **mask_rows(self.masks, self.classes),
                "stages": f"{counted(settings.n_samples, 'sample')} of "
                f"{counted(settings.ode_steps, f'{settings.solver} step')} per "
                f"{f'object, {objects} in all' if objects else 'image'}"
                f"{f', {draws} times' if draws > 1 else ''}",
                "expected": ""
                if stopped
                else self._expected(segmenter, settings, draws * (objects or len(self.pairs))),
            }
        )
        log_findings(findings)

    def _expected(self, segmenter: Segmenter, settings: SamplingConfig, runs: int) -> str:
        rows, columns = max(self.sizes, key=lambda size: size[0] * size[1], default=(0, 0))
        memory = megabytes(rows * columns * (5 * settings.n_samples + 40))
        if self.first is None or len(self.pairs) < _ENOUGH:
            return f"{memory} for the largest image"
        segmenter.sample(self.first.image, settings.model_copy(update={"n_samples": 1}))
        start = time.perf_counter()
        segmenter.sample(self.first.image, settings)
        seconds = (time.perf_counter() - start) * runs
        return f"about {duration(seconds)}, {memory} for the largest image"
