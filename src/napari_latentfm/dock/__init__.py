"""The one dock of the plugin: annotate, work through a folder, learn."""
