"""When people are asked: what the time adds to the scores that the unified encoder learns from.

B windows or people, L events, P questions, M items, S and T source and target items.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from crossrec.models.unified import Unified
from crossrec.training.batches import Batch


@dataclass(frozen=True)
class Moment:
    """When P people are asked, and when what they are asked for was taken."""

    net: Unified
    when: Tensor
    """(P,) bucket of the last event that is shown."""
    own: Tensor
    """(P,) or (P, T) bucket of what is to be told."""
    known: Tensor
    """(P,) whether they have events of the domain that is asked for."""

    def of(self, rows: Tensor, at: Tensor | None = None) -> "Moment":
        """Those of some rows, or of some places (rows, at) of (P, T)."""
        own = self.own[rows] if at is None else self.own[rows, at]
        return Moment(self.net, self.when[rows], own, self.known[rows])

    def risen(self, items: Tensor) -> Tensor:
        """(P, M) what the time adds to the scores of items (M,) of one domain."""
        return self.net.risen(self.when, items, self.known)

    def without_own(self, items: Tensor) -> Tensor:
        """(P,) the same of the items that are to be told, without the events that are."""
        return self.net.risen_without(self.when, items, self.known, self.own)


def in_windows(net: Unified, windows: Batch, when: Tensor | None, asked: Tensor) -> Moment | None:
    """Of the states (P,) of (B, L+1) that are asked; the first, which has seen nothing, when its own event comes."""
    if when is None or net.trend is None:
        return None
    when = when.to(asked.device)
    now = torch.cat([when[:, :1], when[:, :-1]], dim=1)
    sides = (windows.items > 0) & (windows.items <= net.n_source), windows.items > net.n_source
    seen = torch.stack([F.pad(side.cumsum(1) > 0, (1, 0)) for side in sides], dim=-1)  # (B, L+1, 2)
    target = (windows.targets > net.n_source).long()
    known = seen.gather(2, target[..., None])[..., 0]
    return Moment(net, *(values.flatten()[asked] for values in (now, when, known)))


def of_strangers(net: Unified, shown: Tensor | None, hidden: Tensor | None, items: Tensor) -> Moment | None:
    """Of B people who show buckets (B, S), items (B, S) of one domain, and are asked for what is in buckets (B, T)."""
    if shown is None or hidden is None or net.trend is None:
        return None
    shown, device = shown.to(items.device), items.device
    when = shown.masked_fill(items == 0, 0).amax(1)
    return Moment(net, when, hidden.to(device), torch.zeros(len(items), dtype=torch.bool, device=device))
