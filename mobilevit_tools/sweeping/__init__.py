"""A matrix of cells from one file, run on this machine or on a Ray cluster, and resumed where it stopped."""
