"""Loggers for the metrics and pictures of a training run: CSV, TensorBoard, W&B, MLflow."""
