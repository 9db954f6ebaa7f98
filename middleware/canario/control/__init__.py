"""The rollout's state machine: pure, driven by explicit instants."""
