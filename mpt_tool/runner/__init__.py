"""Walks a plan: prepares the steps, runs each, and records how it went."""
