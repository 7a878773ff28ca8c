"""The only place that knows how pixels are counted."""
