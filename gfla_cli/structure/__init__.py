"""From keypoints to the maps a network reads."""
