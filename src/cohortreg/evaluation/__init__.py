"""Measures, ranks and statistics of registered pairs."""
