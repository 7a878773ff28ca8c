"""Chairs and other objects to render."""
