"""What a person reads when something fails: one sentence. The traceback goes to the log."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from crossrec.errors import CrossrecError

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


def percent(share: float) -> str:
    """A share in words: 99.7 % is not rounded to all, nor 0.3 % to none."""
    near_an_end = 0 < share < 0.01 or 0.99 < share < 1
    return f"{share:.1%}".replace("%", " %") if near_an_end else f"{share:.0%}".replace("%", " %")


def plain(text: str) -> str:
    """Text in which Markdown finds nothing to format, except code between backquotes, which our sentences use."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backquote that is not one of a pair
        parts = [text.replace("`", "'")]
    return "".join(f"`{part}`" if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _escaped(text: str) -> str:
    return "".join("\\" + letter if letter in "\\*_[]<$~|#" else letter for letter in text)
