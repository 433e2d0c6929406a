"""Fleets with a planted placement, drawn by seed, and a judge of the plans that are made for them."""
