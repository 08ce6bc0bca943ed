"""What people and programs see: tables, progress, logs, JSON."""
