"""The fine-tuning panel: its controls, the training process and the loss curve."""
