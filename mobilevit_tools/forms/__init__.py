"""Exact forms of operators that a converter drops, lacks or computes otherwise; ``_base`` says how they are used."""
