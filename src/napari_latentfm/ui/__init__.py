"""Controls and dialogs that several panels share."""
