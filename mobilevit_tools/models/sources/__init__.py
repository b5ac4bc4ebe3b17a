"""Where models come from that the project does not ship: one file a source, and a registry of them as data."""
