"""The review panel: sections over one `ReviewSession` per viewer."""
