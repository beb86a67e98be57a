"""Advice on results for images that are unlike the training images."""

from __future__ import annotations


def unlike_advice(prompted: bool, several: bool = False) -> str:
    """Return what to do with a result on such an image, as a clause.

    Parameters
    ----------
    prompted
        Whether the user pointed at the object, so that the model did not have to find it.
    several
        Whether the clause is about several images.
    """
    if prompted:
        whose = (
            "outlines, and do not rely on their" if several else "outline, and do not rely on its"
        )
        return f"check the {whose} confidence"
    if several:
        return "check their masks, and do not rely on their confidence"
    return "check the mask, and do not rely on its confidence"
