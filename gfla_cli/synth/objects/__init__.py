"""Synthetic objects: procedural chairs, and objects from GLB files."""
