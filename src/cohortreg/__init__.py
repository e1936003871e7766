"""Registration of whole image cohorts by inverse consistency (ICON)."""

__version__ = "0.1.0"
