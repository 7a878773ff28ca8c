"""Speed and memory of networks, whole jobs and training."""
