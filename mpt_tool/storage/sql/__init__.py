"""The state in a SQL database: PostgreSQL, or a file of SQLite."""
