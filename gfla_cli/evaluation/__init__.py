"""Measuring models and folders of images."""
