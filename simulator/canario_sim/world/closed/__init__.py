"""A world in which requests act on each other: queues, retries, shared dependencies."""
