"""A store for `mpt-tool` that keeps the state in a directory, a file a record."""
