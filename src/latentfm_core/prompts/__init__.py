"""Prompts that identify an object: boxes, points, strokes and rough masks."""

from latentfm_core.prompts.prompt import Box, Point, Prompt, check_prompt, group_of, recorded_group

__all__ = ["Box", "Point", "Prompt", "check_prompt", "group_of", "recorded_group"]
