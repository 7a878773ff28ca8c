"""Training and evaluation data: real sets in their published layouts, and people rendered on the fly."""
