"""Displacement fields and other maps, in memory and on disk."""
