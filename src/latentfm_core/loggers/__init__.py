"""Where the metrics and pictures of a training run go: CSV, TensorBoard, W&B, MLflow."""
