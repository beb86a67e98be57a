"""The annotation section: edit, save, export, and open an annotation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from psygnal import Signal
from qtpy.QtCore import QEvent
from qtpy.QtGui import QHideEvent
from qtpy.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.errors import LatentFMError
from napari_latentfm.annotation.autosave import autosave_folder
from napari_latentfm.annotation.autosave_service import autosave_service_of
from napari_latentfm.annotation.files import NOTHING_TO_EXPORT, AnnotationFiles
from napari_latentfm.annotation.labels import AnnotationLabels
from napari_latentfm.annotation.region import clear_region, region_layer
from napari_latentfm.annotation.starting import annotation_to_paint
from napari_latentfm.annotation.taking import take_mean_mask
from napari_latentfm.annotation.widgets import RecoveryBar, ask_open, ask_save
from napari_latentfm.background.signals import listen
from napari_latentfm.layers.stacking import activate
from napari_latentfm.notices import show_error, show_warning
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.ui.common import as_plain, push_button, wrapped_text

EXPORT_TIP = "Write the annotation and its provenance to files."
NOTHING = "No samples yet. Run the model to annotate an image."


class AnnotationSection(QWidget):
    """Edits, saves and exports the annotation of the image under review.

    Attributes
    ----------
    finished
        Emitted after an export or an opening, with ``"done"``, ``"cancelled"`` or ``"failed"``.
    reported
        Emitted with how the taking of a mask or a recovery has ended; the section may be folded.
    restored
        Emitted with the `AnnotationSidecar` of an annotation that was opened or recovered; it
        contains seed and sampling settings.
    export_offered
        Emitted with the tooltip of *Export…*, and whether there is an annotation to export.
    """

    finished = Signal(str)
    reported = Signal(str)
    restored = Signal(object)
    export_offered = Signal(str, bool)

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self._session = session
        self._image = self._busy = ""
        service = autosave_service_of(session, self)
        self.autosaver, self.recovery = service.autosaver, service.recovery
        self.labels = AnnotationLabels(session, self.autosaver)
        self._lay_out()
        self.files = AnnotationFiles(
            session, self.autosaver, self.recovery, partial(ask_save, self), partial(ask_open, self)
        )
        self.files.busy.connect(self._set_busy)
        self.files.ended.connect(self._on_file)
        self.files.opened.connect(self.restored.emit)
        listen(self, self.autosaver.kept, self._on_kept)
        listen(self, self.autosaver.failed, self._on_not_kept)
        listen(self, self.autosaver.watched, self._on_changed)
        listen(self, self.recovery.offered, self.bar.show_offer)
        listen(self, self.recovery.recovered, self._on_recovered)
        self.bar.show_offer(self.recovery.offer)
        self.bar.chosen.connect(self.recovery.answer)
        listen(self, session.changed, self._on_changed)
        self.labels.reported.connect(self._show_message)
        # The window is closed: finish an export.
        work = self.files.work
        self.destroyed.connect(lambda: work.close())
        self._on_changed()

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return the actions by napari key string."""
        return {"Shift-M": self.take_mean_mask, "Shift-R": self.take_mean_mask_in_region}

    def release(self) -> None:
        """Save edits; the section stays usable if it is docked again."""
        self.autosaver.flush()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Save edits when the panel leaves its dock, or another tab is shown."""
        super().hideEvent(event)
        self.autosaver.flush()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Save edits when the section leaves its dock."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.autosaver.flush()

    def take_mean_mask(self) -> None:
        """Make the mean mask the annotation."""
        self._take(in_region=False)

    def take_mean_mask_in_region(self) -> None:
        """Make the mean mask the annotation inside the drawn region only."""
        self._take(in_region=True)

    def draw_region(self) -> None:
        """Draw a polygon around a part of the plane."""
        layer = region_layer(self._session)
        if layer is not None:
            activate(self._session.viewer, layer, "add_polygon")
            self._show_message("Click the corners of the region; double-click to finish.")

    def clear_region(self) -> None:
        """Remove the shapes of the region on this plane."""
        clear_region(self._session)

    def paint(self) -> None:
        """Activate napari's brush on the annotation."""
        try:
            activate(self._session.viewer, annotation_to_paint(self._session), "paint")
        except LatentFMError as error:
            self._show_message(str(error))

    def undo(self) -> None:
        """Undo the last change of the annotation."""
        if self.autosaver.layer is not None:
            self.autosaver.layer.undo()

    def redo(self) -> None:
        """Redo the last undone change."""
        if self.autosaver.layer is not None:
            self.autosaver.layer.redo()

    def export(self) -> None:
        """Ask for a file, and write the annotation and its provenance."""
        self.files.export()

    def open(self) -> None:
        """Ask for a file, and continue with its annotation."""
        self.files.open()

    def _take(self, in_region: bool) -> None:
        nothing = self._session.current is None
        text = NOTHING if nothing else take_mean_mask(self._session, in_region)
        self._show_message(text)
        self.reported.emit(text)

    def _on_recovered(self, sidecar: AnnotationSidecar, undo: str) -> None:
        text = f"Recovered. {undo}".rstrip()
        self._show_message(text)
        self.reported.emit(text)
        self.restored.emit(sidecar)

    def _on_file(self, ending: str, text: str) -> None:
        self._show_message(text)
        if ending == "failed":
            show_error(text)
        self.finished.emit(ending)

    def _on_kept(self, when: str) -> None:
        self.kept.setText(f"Autosaved {when}")

    def _on_not_kept(self, message: str) -> None:
        if self.kept.text() != "Not autosaved":
            # Shown once: the user can continue, and saving is retried.
            show_warning(
                f"Autosave failed: {message} The annotation stays in this window; "
                "Export… saves it elsewhere."
            )
        self.kept.setText("Not autosaved")
        self.kept.setToolTip(as_plain(message))

    def _on_changed(self) -> None:
        reviewed = self._session.current
        self.setEnabled(reviewed is not None)
        if reviewed is None:
            self._image = ""
            self._show_message(NOTHING)
        elif (image := str(reviewed.layer.unique_id)) != self._image:
            self._image = image
            self._show_message("")
            self.kept.setText("")
        self.labels.renew()
        self._offer_export()

    def _set_busy(self, text: str) -> None:
        self._busy = text
        self._offer_export()
        self.open_button.setEnabled(not text)
        self._show_message(text)

    def _offer_export(self) -> None:
        """Offer the export of an annotation; say why not while there is none."""
        nothing = NOTHING_TO_EXPORT if self.autosaver.layer is None else ""
        why_not = self._busy or nothing
        self.export_button.setEnabled(not why_not)
        self.export_button.setToolTip(why_not or EXPORT_TIP)
        self.export_offered.emit(why_not or EXPORT_TIP, not why_not)

    def _show_message(self, text: str) -> None:
        self.status.setText(text)

    def _lay_out(self) -> None:
        self.bar = RecoveryBar()
        self.status = wrapped_text("")
        self.kept = wrapped_text(f"Unfinished annotations are saved in {autosave_folder()}.")
        grid = QGridLayout()
        grid.setSpacing(3)
        *pairs, paint, name = [push_button(*entry) for entry in self._buttons()]
        grid.addWidget(paint, 2, 0)
        grid.addWidget(name, 2, 1)
        for number, button in enumerate(pairs):
            grid.addWidget(button, number // 2 + (number > 3), number % 2)
        self.export_button, self.open_button = pairs[-2:]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.bar)
        layout.addWidget(self.labels)
        layout.addLayout(grid)
        layout.addWidget(self.status)
        layout.addWidget(self.kept)

    def _buttons(self) -> list[tuple[str, str, Callable[[], None]]]:
        return [
            ("Mean mask (Shift+M)", "Make the mean mask the annotation.", self.take_mean_mask),
            (
                "In region (Shift+R)",
                "Make the mean mask the annotation inside the drawn region only.",
                self.take_mean_mask_in_region,
            ),
            ("Draw region", "Draw a polygon to which proposals are limited.", self.draw_region),
            ("Clear region", "Remove the region of this plane.", self.clear_region),
            ("Undo (Ctrl+Z)", "Undo the last change of the annotation.", self.undo),
            ("Redo (Ctrl+Shift+Z)", "Redo the last undone change.", self.redo),
            ("Export…", EXPORT_TIP, self.export),
            ("Open annotation…", "Continue with an annotation from a file.", self.open),
            ("Paint", "Paint on the annotation with napari's brush.", self.paint),
            ("Name label…", "Name the selected label.", self.labels.name_label),
        ]
