"""Rows of item tables, read so that a training step costs what it looks at and not what the catalogue holds."""

from collections.abc import Callable

from torch import Tensor, is_grad_enabled
from torch.nn import functional as F

FRESHEN = "_freshen"
"""Attribute of a table that is trained lazily: (items,) -> None brings its rows up to date before they are read."""


def take(table: Tensor, items: Tensor) -> Tensor:
    """(...) rows of a table (I, D) or (I,) -> (..., D) or (...).

    The gradient of a table that is trained lazily is sparse, and its rows are brought up to date first.
    """
    freshen: Callable[[Tensor], None] | None = getattr(table, FRESHEN, None) if is_grad_enabled() else None
    if freshen is not None:
        freshen(items)
    if table.ndim == 1:
        return table.gather(0, items.flatten(), sparse_grad=freshen is not None).view(items.shape)
    return F.embedding(items, table, sparse=freshen is not None)
