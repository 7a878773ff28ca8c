"""Flow priors: first estimates of the flow from pose maps or face maps. Not in the paper."""
