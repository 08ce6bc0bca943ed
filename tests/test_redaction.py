"""What is hidden in a text, and what is not."""

import json
from urllib.parse import quote, quote_plus

import pytest

from mpt_tool.redaction import make_redact, secrets_in

KEY = """-----BEGIN-----\nquote"and\\slash' /+\n-----END-----"""


@pytest.mark.parametrize(
    "name",
    [
        "MPT_API_TOKEN",
        "AIRTABLE_API_KEY",
        "DB_PASSWORD",
        "DB_PASS",
        "MYSQL_PWD",
        "GH_PAT",
        "app_secret",
    ],
)
def test_a_variable_that_is_named_like_a_secret_is_one(name: str) -> None:
    assert secrets_in({name: "value"}) == {"value"}


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "PAT", "HOME", "MPT_API_BASE_URL"])
def test_other_variables_are_none(name: str) -> None:
    assert secrets_in({name: "/work"}) == set()


@pytest.mark.parametrize(
    "address",
    [
        "postgres://user:hunter22@host/db",
        "postgres://user:hunter22/b@host/db",
        "postgres://user:a@hunter22@host/db",
    ],
)
def test_the_password_of_an_address_is_hidden(address: str) -> None:
    assert "hunter22" not in make_redact([])(f"cannot reach {address} now")
    assert any("hunter22" in secret for secret in secrets_in({"DATABASE_URL": address}))


@pytest.mark.parametrize(
    "text",
    [
        *(KEY, repr(KEY), json.dumps(KEY), repr(RuntimeError(KEY)), KEY.splitlines()[1]),
        *(quote(KEY), quote(KEY, safe=""), quote_plus(KEY)),
    ],
)
def test_a_secret_is_hidden_in_every_spelling(text: str) -> None:
    redacted = make_redact([KEY + "\n"])(f"it is {text}!")

    assert "slash" not in redacted


def test_a_secret_that_is_not_utf_8_is_hidden() -> None:
    assert make_redact(["patKey\udcfe\ud800"])("it is patKey\udcfe\ud800!") == "it is ***!"


def test_a_header_of_a_request_is_hidden_whoever_knows_its_token() -> None:
    redacted = make_redact([])("{'Authorization': 'Bearer patX9.0123456789abcdef'}")

    assert redacted == "{'Authorization': 'Bearer ***'}"


@pytest.mark.parametrize(
    "sentence",
    [
        "token validation failed for Basic settings",
        "Token expired, refreshing",
        "Bearer authentication is not supported",
        "see https://example.com:8080/docs",
    ],
)
def test_a_sentence_stays_as_it_is(sentence: str) -> None:
    assert make_redact(["short"])(sentence) == sentence
