"""Synthetic training data: dressed people and objects, drawn by a small software renderer.

    views = random_views(Pack.load(folder), np.random.default_rng(0), count=5, size=256)

renderer/   meshes to images         people/      bodies, clothes and poses (`people.py` is the way in)
objects/    chairs and GLB files     makehuman/   builds the pack that people are made of
pack.py     reads that pack

Lengths are decimetres, y is up, a person faces +z and has +x on the left. Equal states of a random generator give equal
results. Needs the packages of the extra `render`.
"""
