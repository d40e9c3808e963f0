"""Programs that are copied to a device as they stand: standard library only, not imported here."""
