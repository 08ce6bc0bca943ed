"""Holds the JSON documents of commands against their published schemas."""

from functools import cache
from typing import TYPE_CHECKING, Any

from mpt_tool.view.schemas import DOCUMENTS, FailedDocument, schema

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator


def assert_follows_schema(document: dict[str, Any]) -> None:
    """Assert that a document has what its schema says, and no key that it does not name."""
    failed = "error" in document
    _validator("" if failed else document["command"]).validate(document)


@cache
def _validator(command: str) -> "Draft202012Validator":
    # The benchmarks use the projects of the tests, and are run without their tools.
    from jsonschema import Draft202012Validator

    of_command = schema(DOCUMENTS[command] if command else FailedDocument)
    for each in (of_command, *of_command.get("$defs", {}).values()):
        if "properties" in each:
            each["additionalProperties"] = False
    return Draft202012Validator(of_command)
