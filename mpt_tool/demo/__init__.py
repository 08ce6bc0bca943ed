"""The demo: a tour of the tool, with real scripts, in a folder of its own."""
