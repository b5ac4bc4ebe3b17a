"""Reports: one HTML file from manifests, measurements, evaluations and sweeps."""
