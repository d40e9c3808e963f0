"""Machines that a benchmark runs on beside this one: over SSH, over Android's adb, many at once."""
