"""What happens to the process itself: signals, limits, what is put back after a script, streams."""
