"""The same, on many machines: recipes submitted to a Ray cluster."""
