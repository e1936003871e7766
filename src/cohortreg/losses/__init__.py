"""Similarities and fields of view, which several methods share."""
