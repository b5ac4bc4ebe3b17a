"""Damage files in every way that files are damaged, and see that each of them is told in one clear sentence."""
