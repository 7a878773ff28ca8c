"""Dressed people to render."""
