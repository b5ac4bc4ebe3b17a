"""How the reference runtime and the exporters compare with what others expect; see `make conformance`."""
