"""One file per target, and a shared base."""
