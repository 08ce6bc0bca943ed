"""The checksum of a script, which tells whether it was changed since it was applied."""

from pathlib import Path

import pytest

from mpt_tool.scripts.syntax import checksum

CLASS = """
class Migration(DataBaseMigration):
    def run(self, *, count: int = 3) -> None:
        match count:
            case 1 | 2 if self.log:
                return
            case {"a": [*_, last], **rest}:
                yield from (each for each in rest if not each)
"""


def checksum_of(source: bytes, folder: Path) -> str | None:
    path = folder / "1_any.py"
    path.write_bytes(source)
    return checksum(path)


# The history keeps these: each release of Python has to come to the same.
@pytest.mark.parametrize(
    ("source", "known"),
    [
        ("", "ad2e13b69c4fc1fd"),
        (CLASS, "7da9805576fd8f3b"),
        (
            "def first[T: int](a, /, b=1, *c: *tuple[T], **d) -> T: ...\ntype Pair[T] = T",
            "49298042abe496fd",
        ),
        (
            "async def run():\n    async with a as b: await b\n    global c\n    c: int = 1j",
            "8ca88253437f24d7",
        ),
        ('print(f"{1:>{10}}", f"{x!r:>{w}.{p}} it\'s \\"{{b}}\\" " "and" f"")', "2696d575f166e120"),
        ('"\\ud800"; b"\\xff"; 1_000.5e3; lambda: (yield); x[1:2, ...]', "81153e32746c7205"),
    ],
)
def test_a_checksum_is_the_same_for_ever(source: str, known: str, tmp_path: Path) -> None:
    assert checksum_of(source.encode(), tmp_path) == known


@pytest.mark.parametrize(
    ("source", "other"),
    [
        ('f"{a}b"', 'f"{a}c"'),
        ('f"{a}{b}"', 'f"{a}b"'),
        ('f"{a}"', '"{a}"'),
        ("a = 1", "a = '1'"),
        ("a = 1", "a = True"),
        ("f(a, b)", "f(a, *b)"),
    ],
)
def test_what_a_script_does_counts(source: str, other: str, tmp_path: Path) -> None:
    assert checksum_of(source.encode(), tmp_path) != checksum_of(other.encode(), tmp_path)


def test_comments_and_formatting_do_not_count(tmp_path: Path) -> None:
    plain, formatted = b"f(1,2)  # two", b"f(\n    1,\n    2,\n)"

    assert checksum_of(plain, tmp_path) == checksum_of(formatted, tmp_path)


@pytest.mark.parametrize("source", [b"def", b"\xff", b"a\0b", b"(" * 10_000])
def test_what_is_no_script_has_none(source: bytes, tmp_path: Path) -> None:
    assert checksum_of(source, tmp_path) is None
