"""Batches, losses and critics of each task."""
