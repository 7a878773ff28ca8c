"""Model bundles: folders with config.json, model.safetensors and a card; where they lie, and how they come in."""
