"""Golden bundles: an artifact, an input and its expected output, and the code of an app that holds one to the other."""
