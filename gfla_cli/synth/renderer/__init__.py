"""A small software renderer."""
