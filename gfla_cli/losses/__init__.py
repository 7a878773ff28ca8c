"""What the networks are trained to make small (paper, Sec. 3.3)."""
