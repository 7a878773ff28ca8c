"""The arithmetic of the paper: warping by a flow, and local attention around the flowed position."""
