"""Report in the footer what happens in other parts of the dock, which may be out of sight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari import current_viewer
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QObject

from napari_latentfm.background.signals import listen
from napari_latentfm.notices import Notice
from napari_latentfm.sampling.status import warning

if TYPE_CHECKING:
    from napari_latentfm.dock.active_tool import ActiveTool
    from napari_latentfm.dock.panel import LatentFMPanel


class FooterReports(QObject):
    """Shows results, warnings, the active tool and autosaving in the footer."""

    def __init__(self, panel: LatentFMPanel, tool: ActiveTool) -> None:
        super().__init__(panel)
        self._panel, self._footer = panel, panel.footer
        self._about_export = ""
        annotation = panel.review.annotation
        annotation.finished.connect(self._on_file)
        for source in (annotation, panel.review.hypotheses, panel.review.fix.editor):
            listen(self, source.reported, self._footer.show_message)
        annotation.export_offered.connect(self._footer.offer_export)
        listen(self, tool.changed, self._on_tool)
        listen(self, panel.review.fix.tools.changed, self._on_piece_tool)
        listen(self, panel.point.model_missing, self._on_model_missing)
        listen(self, panel.point.reported, self._on_point)
        listen(self, panel.session.changed, self._on_reviewed)
        listen(self, notification_manager.notification_ready, self._on_notification)
        listen(self, panel.sampling.started, self._footer.clear)
        # After an edit, such as Undo, the last message is no longer true.
        listen(self, annotation.autosaver.touched, self._footer.show_message)
        listen(self, panel.queue.exporting.finished, self._on_list_exported)
        listen(self, annotation.autosaver.kept, self._on_kept)
        listen(self, annotation.autosaver.failed, self._on_not_kept)
        listen(self, annotation.autosaver.watched, self._on_watched)

    def _on_tool(self, text: str) -> None:
        """Show the active tool, though its section may be folded."""
        self._footer.show_tool(text)
        if not text:
            self._panel.point.form.hold("")

    def _on_piece_tool(self) -> None:
        self._footer.show_tool(self._panel.review.fix.tools.hint)

    def _on_model_missing(self, text: str) -> None:
        """Show which model to choose, though the section may be folded."""
        self._panel.annotate.uncover("Point")
        self._footer.show_message(text)

    def _on_point(self, text: str) -> None:
        self._footer.show_message(self._panel.chosen.with_name(text))

    def _on_reviewed(self) -> None:
        """Show a warning about what is under review; the status only hints at it."""
        current, stack = self._panel.session.current, self._panel.session.stack
        text = warning(stack.run) if stack else warning(current.result) if current else ""
        if current is not None and text:
            self._footer.warn(f"{current.layer.name}: {text}")

    def _on_notification(self, event: Any) -> None:
        # napari shows it in the same window.
        if isinstance(event, Notice) and current_viewer() is self._panel.session.viewer:
            chosen, work = self._panel.chosen.name, self._panel.queue.work
            listed = [] if work is None else work.names
            is_named = any(name in event.message for name in (chosen, *listed))
            self._footer.warn(
                event.message if is_named else self._panel.chosen.with_name(event.message)
            )

    def _on_list_exported(self, ending: str) -> None:
        """Show the report; a warning about an earlier export is no longer true after a success."""
        text, notice = self._panel.queue.form.status.text(), self._footer.notice
        if text in notice.text:
            self._about_export = notice.text
        elif ending == "done" and notice.text == self._about_export:
            notice.end()
        self._footer.show_message(text)

    def _on_file(self, _ending: str) -> None:
        self._footer.show_message(self._panel.review.annotation.status.text())

    def _on_kept(self, when: str) -> None:
        self._footer.show_kept(f"Autosaved {when[:5]}")

    def _on_watched(self) -> None:
        """Forget when another annotation was saved."""
        self._footer.show_kept("")

    def _on_not_kept(self, _message: str) -> None:
        self._footer.show_kept("Not autosaved")
