"""Anatomies, and images generated from them."""
