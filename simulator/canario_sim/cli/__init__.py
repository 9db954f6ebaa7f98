"""The commands that the simulator adds to `canario`."""
