"""Channels of a stack by name, in the header of the dock."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QWidget

from napari_latentfm.background.signals import listen
from napari_latentfm.background.thread_task import ThreadTask
from napari_latentfm.layers.channels import ChannelAxis, find_channels
from napari_latentfm.layers.file_steps import find_steps
from napari_latentfm.layers.planes import position_of, to_viewer_units
from napari_latentfm.ui.common import narrow

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

SWATCH = 10
"""Side of the square with a channel's colour, in pixels."""


class ChannelChoice(QWidget):
    """Chooses the channel on screen; hidden for images without named channels.

    Parameters
    ----------
    viewer
        Its slider along the channel axis follows the choice, and the choice follows the slider.
    label_width
        Of the label, in pixels.

    Attributes
    ----------
    found
        Emitted with an image when its file was read for channels and pixel size.
    """

    found = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer, label_width: int) -> None:
        super().__init__()
        self._viewer = viewer
        self._layer: Image | None = None
        self._channels: ChannelAxis | None = None
        self._task: ThreadTask | None = None
        self.box = narrow(QComboBox())
        self.box.setToolTip("The channel that is shown and segmented, named as in the file.")
        self.box.activated.connect(self._choose)
        label = QLabel("Channel")
        label.setFixedWidth(label_width)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(label)
        layout.addWidget(self.box, 1)
        self.hide()
        listen(self, viewer.dims.events.current_step, self._follow)
        self.destroyed.connect(partial(_quit, self.__dict__))

    def offer(self, layer: Image | None) -> None:
        """Offer the channels of an image, once they are read from its file."""
        if layer is self._layer:
            return
        if self._task is not None:
            self._task.quit()
            self._task = None
        self._layer, self._channels = layer, None
        self.hide()
        if layer is not None and layer.source.path:
            self._task = ThreadTask(partial(_find, layer))
            self._task.reported.connect(partial(self._show, layer))
            self._task.start()

    def _show(self, layer: Image, channels: ChannelAxis | None) -> None:
        if layer is not self._layer:
            return
        self._channels = channels
        self.box.clear()
        for channel in () if channels is None else channels.channels:
            self.box.addItem(_icon(channel.colour), channel.name)
        self.found.emit(layer)
        self._follow()
        self.setVisible(channels is not None)

    def _choose(self, place: int) -> None:
        layer, channels = self._layer, self._channels
        if layer is None or channels is None or layer not in self._viewer.layers:
            return
        point = [0.0] * layer.ndim
        point[channels.axis] = place
        axis = self._viewer.dims.ndim - layer.ndim + channels.axis
        world = np.asarray(layer.data_to_world(point)) * to_viewer_units(layer, self._viewer.dims)
        self._viewer.dims.set_point(axis, world[channels.axis])

    def _follow(self, _event: Any = None) -> None:
        layer, channels = self._layer, self._channels
        if layer is None or channels is None or len(self._viewer.dims.point) < layer.ndim:
            return
        place = position_of(layer, self._viewer.dims)[channels.axis]
        if 0 <= place < self.box.count():
            self.box.setCurrentIndex(place)


def _find(layer: Image) -> Iterator[ChannelAxis | None]:
    find_steps(layer)
    yield find_channels(layer)


def _icon(colour: str) -> QIcon:
    if not colour:
        return QIcon()
    picture = QPixmap(SWATCH, SWATCH)
    picture.fill(QColor(colour))
    return QIcon(picture)


def _quit(state: dict[str, Any], *_: object) -> None:
    """Stop reading; the widget is gone."""
    if state["_task"] is not None:
        state["_task"].quit()
