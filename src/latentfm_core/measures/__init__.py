"""Sizes and outlines of marked objects, computed in one place for panels, tables and exports."""
