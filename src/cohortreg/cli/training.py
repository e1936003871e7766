"""Commands for packing, training, registering."""
