"""Flow priors: first estimates of the flow from pose maps or face maps, which the flow estimator corrects.

Not in the paper. `ModelConfig.flow_prior` chooses one.

limbs.py     "limbs": each limb moves with its two joints
curves.py    "curves": each part of a face moves with its curves
matching.py  "matches": positions that a network describes alike
solids.py    "solids": one candidate flow per part of a 3-D body model (body.py), whose joints a network corrects
features.py  what the flow estimator sees of a prior
"""
