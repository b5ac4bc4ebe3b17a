"""An artifact on disk: its files, its manifest, what an export says of it, and how it gets its final name."""
