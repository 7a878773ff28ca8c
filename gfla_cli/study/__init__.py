"""A study in which people tell generated images from real ones."""
