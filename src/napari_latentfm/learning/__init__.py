"""The window's side of learning from corrections: the process, the controls, the curves."""
