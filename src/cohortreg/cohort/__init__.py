"""Tables of images and pairs, importers and phantoms."""
