"""The review panel: sections that show the `ReviewSession` of a viewer."""
