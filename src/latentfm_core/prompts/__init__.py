"""Prompts: boxes, points, strokes and rough masks that say which object is meant."""

from latentfm_core.prompts.prompt import Box, Point, Prompt, check_prompt, group_of, recorded_group

__all__ = ["Box", "Point", "Prompt", "check_prompt", "group_of", "recorded_group"]
