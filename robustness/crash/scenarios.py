"""Victims: training, predictions, exports, and annotation storage."""

from __future__ import annotations

from robustness.crash.adaptation import ADAPTATION
from robustness.crash.annotations import AUTOSAVE, EXPORT, MARKS, WORKLIST
from robustness.crash.exports import MODEL_EXPORT
from robustness.crash.folds import CROSS_VALIDATE
from robustness.crash.pairs import TWO_LISTS, TWO_PREDICTIONS
from robustness.crash.predictions import PREDICT, PREDICT_AGAIN, TILED, TILED_AGAIN
from robustness.crash.rounds import Victim
from robustness.crash.training import TRAIN

VICTIMS: dict[str, Victim] = {
    "training": TRAIN,
    "cross-validation": CROSS_VALIDATE,
    "prediction": PREDICT,
    "prediction over an older one": PREDICT_AGAIN,
    "tiled prediction": TILED,
    "tiled over an older one": TILED_AGAIN,
    "autosave": AUTOSAVE,
    "marks": MARKS,
    "export": EXPORT,
    "model export": MODEL_EXPORT,
    "work list": WORKLIST,
    "adapted model": ADAPTATION,
    "two writers of a work list": TWO_LISTS,
    "two predictions of a folder": TWO_PREDICTIONS,
}
