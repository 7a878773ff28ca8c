"""Flow, samplers, renderer and the generators made of them."""
