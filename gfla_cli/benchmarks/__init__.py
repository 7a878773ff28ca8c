"""Speed and memory on the user's machine, always as ratios of two things measured in one run."""
