"""The paper's networks, bottom to top.

blocks.py         the blocks that all networks are made of
priors/           first estimates of the flow, which the flow estimator corrects; not in the paper
flow.py           the global flow field estimator F (Sec. 3.1): pose maps and source image to flow and mask
samplers.py       local attention (Sec. 3.2) and its ablations: source features warped into the target
renderer.py       the local neural texture renderer G (Sec. 3.2): encoders and decoder
generator.py      the pose generator (Fig. 2)
sequence.py       the generators of clips (Sec. 4.3)
view.py           the generator of views (Sec. 4.4)
layers.py         what an image is mixed from, to repeat that at the size of the photograph; not in the paper
discriminator.py  the discriminators of the training
build.py          from a config to a generator
"""
