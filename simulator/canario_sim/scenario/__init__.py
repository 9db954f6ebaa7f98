"""What a scenario file declares."""
