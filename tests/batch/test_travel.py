"""An exception on its way to another process."""

import pickle
import traceback
from dataclasses import replace

import pytest

from mpt_tool.batch.travel import LostError, packed, unpacked


class AwkwardError(Exception):
    """One that its own arguments cannot make again."""

    def __init__(self, one: int, *, reply: object) -> None:
        super().__init__(f"{one} was refused")
        self.reply, self.status_code = reply, 429


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return an error as it was raised here."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def there(error: BaseException) -> BaseException:
    return unpacked(pickle.loads(pickle.dumps(packed(error))))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a", 1),
        KeyError("a"),
        OSError(2, "No such file", "a.txt"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "wrong"),
        SystemExit(3),
        ExceptionGroup("two", [ValueError("a"), TypeError("b")]),
        AwkwardError(3, reply=lambda: None),
    ],
    ids=lambda error: type(error).__name__,
)
def test_it_says_there_what_it_says_here(error: BaseException) -> None:
    other = there(raised(error))

    assert (type(other), str(other)) == (type(error), str(error))


def test_its_traceback_its_cause_and_its_attributes_come_along() -> None:
    error = raised(AwkwardError(3, reply=lambda: None), raised(KeyError("a")))

    other = there(error)

    assert (
        "".join(traceback.format_tb(other.__traceback__)).splitlines()[:2]
        == ("".join(traceback.format_tb(error.__traceback__)).splitlines()[:2])
    )
    assert isinstance(other.__cause__, KeyError)
    assert vars(other)["status_code"] == 429


def test_of_one_whose_class_is_unknown_there_its_words_arrive() -> None:
    local = type("Local", (ValueError,), {})

    other = there(raised(local("what it says")))

    assert isinstance(other, ValueError)
    assert str(other) == "what it says"


def test_one_that_cannot_be_made_there_is_lost_but_for_its_words() -> None:
    given = replace(packed(raised(ValueError("what it says"))), whole=b"", kind=b"")

    other = unpacked(given)

    assert isinstance(other, LostError)
    assert str(other) == "what it says"
