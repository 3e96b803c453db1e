"""Rows on their way to a network: batches of arrays, and of rows of different lengths.

Rows of different lengths are batched by length and read ahead by one thread, so that they are
padded a batch at a time and never all at once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables import workers
from trainables.stage import Array, Sequences

if TYPE_CHECKING:
    from trainables.augmentation import Draws

Arrays = Mapping[str, Array | Sequences]
Rows = Mapping[str, Tensor]
Infer = Callable[[Any, Rows], Tensor]
"""(module, rows) -> one row of outputs each"""
EVAL_ROWS = 4096
"""rows a pass when only scoring"""
AHEAD = 2
"""batches of ragged rows that are collated before they are needed"""


class Collate(Protocol):
    """Rows of one batch -> tensors [rows, ...]. It draws no random numbers, and runs in a thread.

    A column of `Sequences` comes as a list of its rows, an array as an array.
    """

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, Tensor]: ...


def length(columns: Arrays, name: str) -> int:
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"{name} needs columns of one length above 0, but got the lengths {sorted(lengths)}"
        )
    return lengths.pop()


def batches(rows: int, size: int) -> list[tuple[int, int]]:
    """Bounds of batches of `size` rows; a last one of a single row joins the one before it.

    A batch of one row has no batch statistics, and pair losses say nothing about it.

    Example:
        >>> batches(9, 4)
        [(0, 4), (4, 9)]
        >>> batches(10, 4)
        [(0, 4), (4, 8), (8, 10)]
    """
    starts = list(range(0, rows, size))
    if len(starts) > 1 and rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))


def by_length(
    lengths: NDArray[np.int64], size: int, bucket: int, generator: torch.Generator
) -> list[Tensor]:
    """Shuffled batches of rows of like length: indices [<= size] each, every row once.

    Rows are shuffled, cut into chunks of `bucket` batches, sorted by length within each chunk, and
    the batches shuffled again: what a batch holds changes from epoch to epoch, and little of it is
    padding. Everything is drawn from `generator`, so workers with equal ones have equal batches.

    Args:
        lengths: [n] of each row
        size: rows a batch; a last one of a single row joins the one before it
        bucket: batches that are sorted together; 0 sorts nothing
        generator: of both shuffles
    """
    order = torch.randperm(len(lengths), generator=generator)
    if bucket == 0:
        return [order[start:stop] for start, stop in batches(len(order), size)]
    sizes = torch.as_tensor(np.array(lengths))
    groups = []
    for start, stop in batches(len(order), size * bucket):
        chunk = order[start:stop]
        chunk = chunk[torch.argsort(sizes[chunk], stable=True)]
        groups += [chunk[a:b] for a, b in batches(len(chunk), size)]
    return [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]


def tensors(columns: Mapping[str, Any], device: torch.device | None = None) -> dict[str, Tensor]:
    """Arrays as tensors on the device (None: the CPU)."""
    # Ray hands out read-only views; torch warns about those, and nothing here writes to them.
    return {
        name: torch.as_tensor(np.require(column, requirements=["C", "W"]), device=device)
        for name, column in columns.items()
    }


@dataclass(frozen=True)
class Batch:
    """A batch on the device: what this worker's network reads, and the arrays of all of it."""

    own: Rows
    rows: Rows
    count: int
    """rows of this worker's share; `own` holds one to stand in where that is none"""
    total: int


class Dense:
    """Columns of arrays: all of them on the device."""

    def __init__(self, columns: Arrays, device: torch.device) -> None:
        self.device = device
        self.columns = tensors(columns, device)
        self.total = len(next(iter(self.columns.values())))

    def replace(self, columns: Rows) -> None:
        self.columns |= columns

    def batches(self, generator: torch.Generator, size: int) -> list[Tensor]:
        # all of an epoch's indices travel at once
        order = torch.randperm(self.total, generator=generator).to(self.device)
        return [order[start:stop] for start, stop in batches(self.total, size)]

    def take(self, index: Tensor, draws: Draws | None = None) -> Batch:
        """The batch of these rows; `index` is on the device."""
        rows = {name: column.index_select(0, index) for name, column in self.columns.items()}
        if draws is not None:
            rows = draws.tensors(rows, self.columns, index)
        own: Rows = rows
        share = workers.share(len(index))
        if workers.count() > 1:
            own = {name: column[share] for name, column in rows.items()}
        return Batch(own, rows, share.stop - share.start, len(index))

    def each(self, indices: Iterable[Tensor], draws: Draws | None = None) -> Iterator[Batch]:
        """The batches, augmented by an epoch's draws."""
        return (self.take(index, draws) for index in indices)

    def logits(self, infer: Callable[[Rows], Tensor]) -> Tensor:
        """Of this worker's share of all rows."""
        share, columns = workers.share(self.total), self.columns.items()
        parts = [
            infer({name: c[a : min(a + EVAL_ROWS, share.stop)] for name, c in columns})
            for a in range(share.start, share.stop, EVAL_ROWS)
        ] or [infer({name: column[:0] for name, column in columns})]
        return torch.cat(parts)

    def in_order(self, whole: Tensor) -> Tensor:
        return whole


class Ragged:
    """Columns of arrays and of rows of different lengths: they stay in memory, batches travel."""

    def __init__(
        self, columns: Arrays, device: torch.device, collate: Collate, bucket: int, eval_batch: int
    ) -> None:
        self.device, self.collate = device, collate
        self.bucket, self.eval_batch = bucket, eval_batch
        self.columns = dict(columns)
        self.arrays = [n for n, c in columns.items() if not isinstance(c, Sequences)]
        self.total = len(next(iter(columns.values())))
        ragged = [c for c in columns.values() if isinstance(c, Sequences)]
        self.lengths = ragged[0].lengths if ragged else np.zeros(self.total, dtype=np.int64)
        self.idle = 0.0

    def replace(self, columns: Rows) -> None:
        self.columns |= {name: column.cpu().numpy() for name, column in columns.items()}

    def batches(self, generator: torch.Generator, size: int) -> list[Tensor]:
        return by_length(self.lengths, size, self.bucket, generator)

    def each(self, indices: Iterable[Tensor], draws: Draws | None = None) -> Iterator[Batch]:
        """The batches, each augmented and collated in a thread while others are at work."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="collate") as pool:
            waiting: deque[Future[Batch]] = deque()
            for index in indices:
                waiting.append(pool.submit(self._host, index.numpy(), draws))
                if len(waiting) > AHEAD:
                    yield self._next(waiting)
            while waiting:
                yield self._next(waiting)

    def _next(self, waiting: deque[Future[Batch]]) -> Batch:
        start = time.perf_counter()
        batch = waiting.popleft().result()
        self.idle += time.perf_counter() - start
        if self.device.type == "cpu":
            return batch
        own, rows = self._to_device(batch.own), self._to_device(batch.rows)
        return Batch(own, rows, batch.count, batch.total)

    def _host(self, index: NDArray[np.int64], draws: Draws | None) -> Batch:
        share = workers.share(len(index))
        mine = index[share]
        own = self._alone(mine if len(mine) else index[:1], draws)
        rows = self._pinned(tensors(self._rows(index, self.arrays, draws), torch.device("cpu")))
        return Batch(own, rows, len(mine), len(index))

    def _pinned(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rows from where a copy to a card need not be waited for."""
        if self.device.type == "cpu":
            return rows
        return {name: column.pin_memory() for name, column in rows.items()}

    def _rows(
        self, index: NDArray[np.int64], names: Iterable[str], draws: Draws | None = None
    ) -> dict[str, Any]:
        chunk: dict[str, Any] = {}
        for name in names:
            column = self.columns[name]
            if isinstance(column, Sequences):
                chunk[name] = [column[int(row)] for row in index]
            else:
                chunk[name] = column[index]
        return chunk if draws is None else draws.rows(chunk, self.columns, index)

    def _deal(self) -> NDArray[np.int64]:
        """All rows by length, dealt out to the workers: each has its share of long ones."""
        order = np.argsort(self.lengths, kind="stable")[::-1]
        return np.concatenate(
            [order[worker :: workers.count()] for worker in range(workers.count())]
        )

    def logits(self, infer: Callable[[Rows], Tensor]) -> Tensor:
        """Of this worker's share of `_deal`."""
        mine = self._deal()[workers.share(self.total)]
        parts = []
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="collate") as pool:
            waiting: deque[Future[dict[str, Tensor]]] = deque()
            for start in range(0, len(mine), self.eval_batch):
                index = mine[start : start + self.eval_batch]
                waiting.append(pool.submit(self._alone, index))
                if len(waiting) > AHEAD:
                    parts.append(infer(self._to_device(waiting.popleft().result())))
            parts += [infer(self._to_device(rows.result())) for rows in waiting]
        if not parts:
            return infer(self._to_device(self._alone(np.zeros(1, dtype=np.int64))))[:0]
        return torch.cat(parts)

    def _alone(self, index: NDArray[np.int64], draws: Draws | None = None) -> dict[str, Tensor]:
        return self._pinned(self.collate(self._rows(index, tuple(self.columns), draws)))

    def _to_device(self, rows: Rows) -> Rows:
        return {n: column.to(self.device, non_blocking=True) for n, column in rows.items()}

    def in_order(self, whole: Tensor) -> Tensor:
        """Rows of `_deal` in the order of the columns."""
        back = torch.empty_like(whole)
        back[torch.as_tensor(self._deal().copy(), device=whole.device)] = whole
        return back
