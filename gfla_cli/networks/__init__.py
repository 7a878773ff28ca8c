"""The paper's networks: flow estimator, local attention, renderer, the generators made of them, discriminators."""
