"""The generators, built from one set of blocks; `build.py` turns a ModelConfig into one of them."""
