"""Predictions of the live model, and what the strategy then earned."""
