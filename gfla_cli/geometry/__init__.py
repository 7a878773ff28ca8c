"""Crops and pasting: the only place that knows how pixels are counted."""
