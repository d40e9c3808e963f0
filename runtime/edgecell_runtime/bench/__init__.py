"""Measuring: how fast, how steadily, how big and how right artifacts are on a machine."""
