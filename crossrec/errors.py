"""The one exception that reaches a person, and the search for the name that was meant."""

from collections.abc import Iterable
from difflib import get_close_matches


class CrossrecError(Exception):
    """A failure told in one sentence: what was wrong, the value seen, what to do.

    The command line prints it and exits with 1; a page shows it in place of its content. Everything else that is
    raised is a defect of the program.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest of the known names, or the known names when none is close."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""
