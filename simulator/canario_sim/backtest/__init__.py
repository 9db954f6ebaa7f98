"""Tapes of real traffic, judged again: by their own plan, and by others."""
