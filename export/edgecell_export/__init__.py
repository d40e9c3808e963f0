"""Turns a Keras model into proven artifacts: prepared graphs, converters, recipes and parity."""
