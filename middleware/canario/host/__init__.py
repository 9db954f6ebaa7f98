"""What canario asks of the process that it lives in: threads, forks, signals, logs, files."""
