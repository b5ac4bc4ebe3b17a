"""What differs between two artifacts: their graphs, their weights, their manifests and their latency."""
