"""What each export target is: one description a target, as data only, from which every list of targets is derived."""
