"""Panels: thin views over the job that draws samples."""
