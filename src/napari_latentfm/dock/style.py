"""Style of the dock beyond napari's theme."""

from __future__ import annotations

FOCUS = "#56b4e9"
"""Okabe-Ito sky blue, to be seen on napari's dark and light theme alike."""

WARNING = "#e69f00"
"""Okabe-Ito orange, of the frame around warnings and errors."""

STYLE = f"""
QPushButton:focus, QToolButton:focus, QComboBox:focus, QLineEdit:focus, QSpinBox:focus,
QDoubleSpinBox:focus, QTableView:focus, QListWidget:focus, QTreeWidget:focus {{
    border: 1px solid {FOCUS};
}}
QSlider:focus {{
    border: 1px solid {FOCUS};
}}
QTabBar::tab:selected:focus {{
    border: 1px solid {FOCUS};
}}
QCheckBox {{
    border: 1px solid transparent;
}}
QCheckBox:focus {{
    color: {FOCUS};
    border: 1px solid {FOCUS};
}}
QToolButton[objectName="LatentFM section"] {{
    font-weight: bold;
    text-align: left;
    padding: 3px;
}}
QPushButton[objectName="LatentFM accept"] {{
    font-weight: bold;
}}
QLabel[objectName="LatentFM tool"] {{
    border: 1px solid {FOCUS};
    padding: 2px;
}}
QFrame[objectName="LatentFM notice"] {{
    border: 1px solid {WARNING};
}}
QLabel[objectName="LatentFM question"] {{
    padding: 0px;
}}
QLabel[objectName="LatentFM small"] {{
    font-size: 8pt;
    padding: 0px;
}}
"""
