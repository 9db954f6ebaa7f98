"""Judges: from evidence to a verdict."""
