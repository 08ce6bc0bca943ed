"""What MkDocs calls while it builds the site: puts in what is made from the code and elsewhere."""

import os
import re
from pathlib import Path

from generated import filled
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_REPOSITORY = Path(__file__).parents[1]
# A link of a file in the repository's root to a page.
_LINK = re.compile(r"\]\(docs/")
_CELL = re.compile(r"<t[dh][ >].*?</t[dh]>", re.DOTALL)
_CODE = re.compile(r"<code>([^<]*)</code>")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Link to the repository that the site is built in, where a pipeline says which it is."""
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    if server and name:
        config.repo_url, config.repo_name = f"{server}/{name}", name
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make a page of the changelog, which is kept in the repository's root."""
    text = (_REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "changelog.md", content=_LINK.sub("](", text)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in the parts that a page asks for."""
    return filled(markdown)


def on_page_content(html: str, **_: object) -> str:
    """Let code in a table break between words and after `_`, `.` or `/`, not inside `--fake`."""
    return _CELL.sub(lambda cell: _CODE.sub(_with_whole_words, cell[0]), html)


def _with_whole_words(code: re.Match[str]) -> str:
    words = re.sub(r"[^\s_./]+[_./]*|[_./]+", r'<span class="word">\g<0></span><wbr>', code[1])
    return f"<code>{words}</code>"
