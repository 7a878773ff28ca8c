"""Warping and local attention."""
