"""Training, checkpoints and weights."""
