"""Controls for how the files of a work list are read, in step with napari's preferences."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QSpinBox

from napari_latentfm import settings
from napari_latentfm.background.signals import listen
from napari_latentfm.reading import SECTION, choose_channel, choose_megapixels, reading_limits
from napari_latentfm.ui.collapsible import Collapsible

MAX_MEGAPIXELS = 16_384
MAX_CHANNELS = 1000


class ReadingControls(Collapsible):
    """Size limit, and the channel to segment.

    Attributes
    ----------
    megapixels, channel
        The two controls; channel 0 is none.
    """

    def __init__(self) -> None:
        super().__init__("How files are read", "Size limit, and the channel to segment.")
        self.megapixels = QSpinBox()
        self.megapixels.setRange(1, MAX_MEGAPIXELS)
        self.megapixels.setSuffix(" megapixels")
        self.megapixels.setToolTip(
            "Larger files are rejected before they fill the memory. Raise the limit for large "
            "images from sources that you trust."
        )
        self.channel = QSpinBox()
        self.channel.setRange(0, MAX_CHANNELS)
        self.channel.setSpecialValueText("none")
        self.channel.setToolTip(
            "The channel to segment in files of several channels that are not red, green and "
            "blue. With none, such files are rejected, and a message names their channels."
        )
        self._take_limit()
        self.add_row("Largest image", self.megapixels)
        self.add_row("Channel", self.channel)
        self.megapixels.valueChanged.connect(choose_megapixels)
        self.channel.valueChanged.connect(choose_channel)
        page = settings.page(SECTION)
        if page is not None:
            listen(self, page.events.max_megapixels, self._take_limit)
            listen(self, page.events.channel, self._take_limit)

    def _take_limit(self, _event: Any = None) -> None:
        limits = reading_limits()
        self.megapixels.setValue(round(limits.max_megapixels))
        self.channel.setValue(limits.channel or 0)
