"""All errors that the tool raises on purpose.

    MptToolError                 exit code 1
    ├── SettingsError            exit code 2: an environment variable or pyproject.toml is wrong
    ├── ScriptError              the migrations folder or a script in it is wrong
    │   └── ScriptLoadError      importing a script failed; `__cause__` is what it raised
    ├── SelectionError           the asked-for migration cannot be run or faked
    ├── MigrationFailedError     a script raised; the exit code is its own if it asked for one
    └── StorageError             the state store cannot be reached, read or written

Each is raised once, with a message that says what is wrong, where, and what to do next, and caught
once, in `mpt_tool.cli`, which prints the message and exits with `exit_code`.
"""

# What a shell reports for a process that SIGINT stopped.
INTERRUPTED = 130


class MptToolError(Exception):
    """Base of all errors of this tool; `str(error)` is the message for the user."""

    exit_code = 1


class SettingsError(MptToolError, ValueError):
    """A setting is wrong, or one that is needed is missing (in a script: a `ValueError`)."""

    exit_code = 2


class ScriptError(MptToolError):
    """The migrations folder, a file name in it or the content of a script is wrong."""


class ScriptLoadError(ScriptError):
    """A script raised when it was imported or its migration made; `__cause__` is what it raised."""


class SelectionError(MptToolError):
    """The migration that was asked for is unknown, of another type or already applied."""


class MigrationFailedError(MptToolError):
    """A migration's own code failed; `__cause__` is what it raised.

    Args:
        migration_id: the migration that failed.
        reason: the message of what it raised.
        exit_code: what the process is to exit with.
    """

    def __init__(self, migration_id: str, reason: str, exit_code: int = 1) -> None:
        super().__init__(f"Migration {migration_id} failed: {reason}")
        self.migration_id = migration_id
        self.reason = reason
        self.exit_code = exit_code


class StorageError(MptToolError):
    """The state store cannot be reached, cannot be read as state, or refuses a change."""
