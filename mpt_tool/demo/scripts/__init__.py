"""The scripts that the demo's migrations are filled with."""
