"""What a person reads when something fails: one sentence. The traceback goes to the log."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from crossrec.errors import CrossrecError
from crossrec.report.words import capital as capital
from crossrec.report.words import percent as percent

UNEXPECTED = "Something went wrong on our side. Reload the page; if it happens again, the server's log says why."


@contextmanager
def as_sentence() -> Iterator[None]:
    """Shows a CrossrecError of the block in place of the rest of the block."""
    try:
        yield
    except CrossrecError as error:
        say(error)


def tell(error: Exception) -> bool:
    """The handler of `st.App`: Streamlit has logged the traceback already."""
    if isinstance(error, CrossrecError):
        say(error)
    else:
        st.error(UNEXPECTED, icon=":material/error:")
    return True


def say(error: CrossrecError) -> None:
    st.warning(plain(str(error)), icon=":material/info:")


def plain(text: str) -> str:
    """Text in which Markdown finds nothing to format, except code between backquotes, which our sentences use."""
    # A number and its percent sign stay on one line.
    text = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backquote that is not one of a pair
        parts = [text.replace("`", "'")]
    return "".join(f"`{part}`" if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _escaped(text: str) -> str:
    return "".join("\\" + letter if letter in "\\*_[]<$~|#" else letter for letter in text)
