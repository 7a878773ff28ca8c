"""Synthetic people: bodies, clothes, poses, views and data sets of them."""
