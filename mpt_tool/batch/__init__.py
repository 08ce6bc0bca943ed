"""Batch migrations: drives one over its items, at a pace, from checkpoint to checkpoint."""
