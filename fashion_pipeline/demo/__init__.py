"""Drawn garments, demo feeds, training of the demo model, its weights."""
