"""Numbers and lists in words."""

from collections.abc import Sequence

import pandas as pd


def percent(share: float) -> str:
    """A share in words: 99.7 % is not rounded to all, nor 0.3 % to none."""
    near_an_end = 0 < share < 0.01 or 0.99 < share < 1
    digits = f"{100 * share:.1f}" if near_an_end else f"{100 * share:.0f}"
    return f"{digits}\N{NO-BREAK SPACE}%"


def capital(text: str) -> str:
    """With a capital first letter; the rest, such as the labels of domains, stays as it is."""
    return text[:1].upper() + text[1:]


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def for_sheets(frame: pd.DataFrame) -> pd.DataFrame:
    """A table that is downloaded: text that a spreadsheet would compute begins with an apostrophe."""
    columns = [str(name) for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    risky = ("=", "+", "-", "@", "\t", "\r")
    safe = {
        name: [f"'{one}" if isinstance(one, str) and one.startswith(risky) else one for one in frame[name]]
        for name in columns
    }
    return frame.assign(**safe)
