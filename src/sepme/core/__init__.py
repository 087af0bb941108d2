"""Immutable values and the small protocols around them."""
