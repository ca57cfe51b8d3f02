"""AdamW whose step costs as much as the rows that it looks at, however long the item tables are.

Of a table of which a step reads few rows, AdamW moves all: the others by what is left of their momentum. A row that
gets no gradient moves along a geometric series, so it can be left alone until it is read again and then moved by the
sum: with a = lr m / sqrt(v) at the last gradient, r = beta1 / sqrt(beta2) and w = 1 - lr * weight_decay,

    p_k = w^k p_0 - a (sum over j = 1..k of r^j w^(k-j)),

and its exponential average, of decay d, by the same sums. Only the bias corrections are taken as they were at the last
gradient, which matters in the first hundred steps; Adam's epsilon is left out of the sums, and the learning rate must
be the same at all steps. "Lazy" and "sparse" Adam elsewhere leave out the momentum as well, which moves a rare item an
eighth as far.

I items, R rows, D width.
"""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from crossrec import processes
from crossrec.models.tables import FRESHEN

LAZY_FROM = 50_000
"""Rows from which on a table is trained lazily: below, moving all of them at once is as fast."""
CHUNK = 65_536
"""Rows that are brought up to date at once when all are."""


class LazyAdamW(torch.optim.AdamW):
    """AdamW that moves some tables by rows, once it is started; they must be read by `models.tables.take` alone.

    The state of such a table holds, beside its moments, `stamp` (I,), the step up to which each row is moved.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], tables: Iterable[Tensor], **options: Any):
        """groups: of all weights, as AdamW takes them; tables: of these, what is read by rows, if it is long."""
        super().__init__(groups, **options)
        self.tables = [table for table in tables if lazily(table)]
        """Those that are moved by rows."""
        self.averages: dict[int, tuple[Tensor, float]] = {}
        """By the id of a table its exponential average, updated after each step, and its decay."""

    def start(self) -> None:
        for table in self.tables:
            setattr(table, FRESHEN, partial(self.freshen, table))

    def finish(self) -> None:
        """Makes the tables plain ones again; what is late stays so."""
        for table in self.tables:
            if hasattr(table, FRESHEN):
                delattr(table, FRESHEN)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for table in self.tables:
            if table.grad is not None:
                self._move(table, table.grad.coalesce())
                table.grad = None
            self._of(table)["step"] += 1
        super().step(closure)

    @torch.no_grad()
    def freshen(self, table: Tensor, rows: Tensor | None = None) -> None:
        """Moves some rows, of any shape and repeated or not, or all, to where AdamW would have moved them by now."""
        if rows is None:
            for some in torch.arange(len(table), device=table.device).split(CHUNK):
                self.freshen(table, some)
            return
        state, group, rows = self._of(table), self._group(table), rows.flatten()
        rows = rows[state["stamp"][rows] < state["step"]].unique()
        if not len(rows):
            return
        (beta1, beta2), decay = group["betas"], 1 - group["lr"] * group["weight_decay"]
        since = state["stamp"][rows].double()
        k, ratio = state["step"].double() - since, beta1 / math.sqrt(beta2)

        def each(values: Tensor) -> Tensor:
            """(R,) in double precision -> (R, 1), or (R,) of a table without width, in the table's own."""
            return values.to(table.dtype).view(-1, *(1,) * (table.ndim - 1))

        m, v, old = state["exp_avg"][rows], state["exp_avg_sq"][rows], table[rows]
        rate = group["lr"] * (1 - beta2**since).sqrt() / (1 - beta1**since)
        a = each(torch.where(since > 0, rate, 0.0)) * torch.where(v > 0, m / v.sqrt(), 0.0)
        # Past the version counter: in the same step other rows may have been read already, and those stay as they are.
        table.data[rows] = each(decay**k) * old - a * each(sums(decay, ratio, k))
        if id(table) in self.averages:
            average, keep = self.averages[id(table)]
            # After j steps the row is along * w^j + across * r^j.
            across = a * ratio / (decay - ratio)
            passed = (old - across) * each(sums(keep, decay, k)) + across * each(sums(keep, ratio, k))
            average[rows] = each(keep**k) * average[rows] + (1 - keep) * passed
        state["exp_avg"][rows] = m * each(beta1**k)
        state["exp_avg_sq"][rows] = v * each(beta2**k)
        state["stamp"][rows] = state["step"]

    def _move(self, table: Tensor, grad: Tensor) -> None:
        """One step of the rows that have a gradient; the others are late by it."""
        state, group = self._of(table), self._group(table)
        rows, g = grad.indices()[0], grad.values()
        (beta1, beta2), now = group["betas"], float(state["step"]) + 1
        m = state["exp_avg"][rows].lerp_(g, 1 - beta1)
        v = state["exp_avg_sq"][rows].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        state["exp_avg"][rows], state["exp_avg_sq"][rows], state["stamp"][rows] = m, v, now
        new = table[rows].mul_(1 - group["lr"] * group["weight_decay"])
        new.addcdiv_(m, (v / (1 - beta2**now)).sqrt_().add_(group["eps"]), value=-group["lr"] / (1 - beta1**now))
        table[rows] = new
        if id(table) in self.averages:
            average, keep = self.averages[id(table)]
            average[rows] = average[rows].lerp_(new, 1 - keep)

    def _of(self, table: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[table]
        if not state:
            state |= {name: torch.zeros_like(table) for name in ("exp_avg", "exp_avg_sq")}
            state |= {"step": table.new_zeros(()), "stamp": table.new_zeros(len(table))}
        return state

    def _group(self, table: Tensor) -> dict[str, Any]:
        return next(group for group in self.param_groups if any(p is table for p in group["params"]))


def lazily(table: Tensor) -> bool:
    """Whether a table is trained by rows: it is long, and this process is the only one.

    Of several processes each would have to learn which rows the others move.
    """
    return isinstance(table, nn.Parameter) and len(table) >= LAZY_FROM and not processes.several()


def sums(x: float, y: float, k: Tensor) -> Tensor:
    """(R,) sum over j = 1..k of x^(k-j) y^j."""
    return k * x**k if math.isclose(x, y, rel_tol=1e-9) else y * (x**k - y**k) / (x - y)
