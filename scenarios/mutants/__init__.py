"""Mutants by the part they break; each module holds a list ``MUTANTS``."""
