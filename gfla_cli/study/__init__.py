"""A user study in which raters tell generated images from real ones."""
