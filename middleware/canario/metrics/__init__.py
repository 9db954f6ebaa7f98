"""Counting and quantiles: pure and bounded in memory."""
