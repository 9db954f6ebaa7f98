"""What requests do one after the other: queues, and worlds in which they act on each other."""
