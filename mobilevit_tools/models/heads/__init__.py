"""What makes segmenters and detectors of the families that return a pyramid of maps."""
