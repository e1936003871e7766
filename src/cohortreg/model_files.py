"""A model, trained here or imported, is a folder with these two files."""

WEIGHTS, CARD = "weights.safetensors", "model.json"
