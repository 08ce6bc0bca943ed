"""What is hidden in a text, and what is not."""

import html
import json
import random
import re
import reprlib
import string
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from pydantic import BaseModel, ValidationError

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
        "API_KEY_PROD",
        "TOKEN_2",
        "SIGNING_KEYS",
        "DB_PASSWORD2",
    ],
)
def test_a_variable_that_is_named_like_a_secret_is_one(name: str) -> None:
    assert secrets_in({name: "value"}) == {"value"}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "PWD",
            "OLDPWD",
            "PAT",
            "HOME",
            "MPT_API_BASE_URL",
            "MAX_TOKENS",
            "KEYBOARD",
            "TOKEN_URL",
        ),
        *("AWS_ACCESS_KEY_ID", "SSH_KEY_FILE", "SECRET_NAME"),
    ],
)
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
        *(html.escape(KEY), re.sub("%..", lambda match: match[0].lower(), quote(KEY, safe=""))),
    ],
)
def test_a_secret_is_hidden_in_every_spelling(text: str) -> None:
    redacted = make_redact([KEY + "\n"])(f"it is {text}!")

    assert "slash" not in redacted


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("around", ["", "u:", "user:", "a:b"])
def test_a_secret_is_hidden_in_what_is_encoded_with_it(
    encode: Callable[[bytes], bytes], around: str
) -> None:
    secret = "whsec_01?>~23456789"
    text = encode(f"{around}{secret}{around}".encode()).decode()

    redacted = make_redact([secret])(f"Authorization: {text}")

    assert "***" in redacted
    assert len(redacted) <= len("Authorization: ***") + 4 * (1 + len(around))


class Model(BaseModel):
    number: int


@pytest.mark.parametrize("length", [12, 24, 40, 300])
def test_what_an_error_leaves_of_a_secret_that_it_cuts_is_hidden(length: int) -> None:
    secret = "".join(random.Random(length).choices(string.ascii_letters, k=length))
    redact = make_redact([secret])
    with pytest.raises(ValidationError) as error:
        Model.model_validate({"number": secret})

    told = [str(error.value), reprlib.repr(secret), f"begins with {secret[: max(6, length // 2)]}"]

    for text in map(redact, told):
        assert "***" in text
        assert not any(secret[at : at + 6] in text for at in range(length - 5))


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("https://0123abcdef@sentry.example.com/1", "0123abcdef"),
        ("AccountName=shop;AccountKey=ab/cd+ef12345==;EndpointSuffix=x", "ab/cd+ef12345=="),
        ("Server=db;User Id=shop;Password=hunter22;", "hunter22"),
        ("host=db user=shop password=hunter22", "hunter22"),
        ("https://x.example.com/box?sv=2024&sig=ab%2Fcd%3D", "ab%2Fcd%3D"),
        ("Endpoint=sb://x/;SharedAccessKeyName=all;SharedAccessKey=ab/cd+ef=", "ab/cd+ef="),
    ],
)
def test_the_secret_in_a_connection_string_is_one(value: str, secret: str) -> None:
    assert secrets_in({"SHOP_CONNECTION": value}) == {secret}


def test_the_key_before_a_host_is_hidden_whoever_knows_it() -> None:
    redacted = make_redact([])("cannot reach https://0123abcdef@sentry.example.com/1")

    assert redacted == "cannot reach https://***@sentry.example.com/1"


def test_a_long_text_is_searched_in_little_time() -> None:
    secrets = [f"{number:04}-{'x' * 40}" for number in range(30)]

    began = time.process_time()
    make_redact(secrets)("y" * 300_000)

    assert time.process_time() - began < 5


def test_addresses_that_begin_as_a_secret_one_does_are_shown() -> None:
    redact = make_redact(["https://example.com/hook/0123456789", "/var/run/secrets/shop.pem"])

    assert redact("https://example.com/docs, /var/run/x") == "https://example.com/docs, /var/run/x"


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


@pytest.mark.parametrize("name", ["NOTIFY_URLS", "MPT_TOOL_NOTIFY_URLS", "NOTIFY_PING_URL"])
@pytest.mark.parametrize(
    ("address", "told", "shown"),
    [
        (
            "slack://T1JJ3T3L2/A1BRTD4JD/#general",
            "POST T1JJ3T3L2 in general",
            "POST *** in general",
        ),
        ("https://ping.example.com/d1a2-b3c4", "no ping.example.com", "no ping.example.com"),
        ("https://ping.example.com/d1a2-b3c4", "url: /d1a2-b3c4", "url: ***"),
        ("json://one.example/a1b2c3, json://two.example/x", "json://one.example/a1b2c3", "***"),
    ],
)
def test_an_address_to_write_to_is_a_secret_but_not_its_host(
    name: str, address: str, told: str, shown: str
) -> None:
    assert make_redact(secrets_in({name: address}))(told) == shown


def test_the_values_of_headers_of_telemetry_are_secrets() -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-key=abc12345,authorization=Bearer%20xyzxyzxyz"
    }

    redact = make_redact(secrets_in(environment))

    assert redact("abc12345, Bearer xyzxyzxyz, xyzxyzxyz") == "***, ***, ***"
