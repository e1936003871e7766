"""A model, trained here or imported, is a folder with the first two of these files."""

WEIGHTS, CARD = "weights.safetensors", "model.json"
#: What a person reads who is given a model.
README = "README.md"
