"""A small software renderer: textures, rasterizer, shading and light."""
