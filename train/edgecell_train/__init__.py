"""Trains small image classifiers and measures them: splits, presets, fitting, statistics."""
