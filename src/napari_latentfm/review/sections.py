"""The sections of the review of one session, and the signals between them."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget

from latentfm_core.annotation.provenance import AnnotationSidecar
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.section import AnnotationSection
from napari_latentfm.annotation.undoing import follow_undo
from napari_latentfm.background.signals import listen
from napari_latentfm.fixing.section import FixSection
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.review.hypotheses_section import HypothesesSection
from napari_latentfm.review.regions_section import RegionsSection
from napari_latentfm.review.strokes_section import StrokesSection

Section = HypothesesSection | RegionsSection | StrokesSection | FixSection | AnnotationSection
"""A section of the review."""


class ReviewSections:
    """The sections; their owner arranges them and binds their keys."""

    def __init__(self, session: ReviewSession, owner: QWidget) -> None:
        self.session = session
        self.hypotheses = HypothesesSection(session)
        self.regions = RegionsSection(session)
        self.strokes = StrokesSection(session)
        self.fix = FixSection(session)
        self.annotation = AnnotationSection(session)
        self.annotation.restored.connect(self._recall_settings)
        self.regions.ticked.connect(self._note_resolved)
        listen(owner, session.restored, self._recall_work)
        listen(owner, self.annotation.autosaver.watched, self._note_resolved)
        listen(owner, self.annotation.autosaver.touched, self._follow_undo)

    @property
    def all(self) -> tuple[Section, ...]:
        """All sections."""
        return (self.hypotheses, self.regions, self.strokes, self.fix, self.annotation)

    def release(self) -> None:
        """Cancel the work, and save the annotation."""
        for section in self.all:
            section.release()

    def _note_resolved(self) -> None:
        layer = annotation_of(self.session, create=False)
        if layer is not None:
            record_of(layer).resolved = tuple(map(dict, self.regions.resolved_regions()))

    def _follow_undo(self) -> None:
        layer = annotation_of(self.session, create=False)
        if layer is not None:
            follow_undo(self.session, layer)

    def _recall_work(self, sidecar: AnnotationSidecar) -> None:
        """Restore the reviewed regions and strokes of an annotation that was restored."""
        self.regions.recall(sidecar.resolved_regions)
        self.strokes.recall(sidecar.corrections)

    def _recall_settings(self, sidecar: AnnotationSidecar) -> None:
        """Restore the sampling settings of an annotation."""
        if sidecar.sampling:
            self.session.recalled.emit({**sidecar.sampling, "seed": sidecar.seed})
