"""What N workers of one training exchange, through torch.distributed alone; nothing where N is 1.

A global batch is cut into N slices, one a worker. Rows that come out of a network are gathered with
gradient, because losses such as the relative difficulty compare rows of the whole batch.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def count() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if count() > 1 else 0


def cuts(rows: int) -> list[int]:
    """Bounds of each worker's slice of `rows` rows; slices differ by one row at most."""
    n = count()
    return [rows * i // n for i in range(n + 1)]


def exchange(own: Tensor, rows: int) -> Tensor:
    """All workers' slices [own rows, ...] as one [rows, ...]."""
    bounds = cuts(rows)
    sizes = [b - a for a, b in itertools.pairwise(bounds)]
    full = own.new_zeros((max(sizes), *own.shape[1:]))
    full[: len(own)] = own
    parts = [torch.empty_like(full) for _ in sizes]
    dist.all_gather(parts, full)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


class _Gather(torch.autograd.Function):
    """`_exchange` with gradient.

    Every worker computes the same loss from the gathered rows, so the gradient of a worker's own
    rows is already complete there. It is multiplied by the number of workers because gradients
    of parameters are averaged afterwards; a parameter that the loss reads directly (a proxy) has
    the same gradient on every worker, and the average leaves it alone.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, rows: int) -> Tensor:
        ctx.rows = rows
        return exchange(own, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        bounds = cuts(ctx.rows)
        return grads[0][bounds[rank()] : bounds[rank() + 1]] * count(), None


def gather(outputs: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
    if count() == 1:
        return outputs
    # In the order of names: collectives must come in one order everywhere.
    return {name: _Gather.apply(outputs[name], rows) for name in sorted(outputs)}


def average_gradients(module: nn.Module, agree: bool) -> None:
    """Average over workers. `agree`: the workers may have left out different layers (layerdrop)."""
    if count() == 1:
        return
    if agree:
        parameters = [p for p in module.parameters() if p.requires_grad]
        flags = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32)
        flags = flags.to(parameters[0].device)
        dist.all_reduce(flags)
        for parameter, has_gradient in zip(parameters, flags.tolist(), strict=True):
            if has_gradient and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= count()
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def share(rows: int) -> slice:
    bounds = cuts(rows)
    return slice(bounds[rank()], bounds[rank() + 1])
