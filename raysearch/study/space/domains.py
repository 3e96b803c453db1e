"""Domains: the values that one parameter may take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from raysearch.data.section import FrozenDict
from raysearch.study.space.values import Scalar, is_number, same, shown


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The values that one parameter may take.

    Finite domains know their values by index, `at(0) .. at(size - 1)`.
    """

    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=FrozenDict)
    """parameter -> values; the domain exists only where each of them has one of these values"""
    needs: str | Mapping[str, str] | None = None
    """what the data must have: one of `NEEDS`; of a choice of texts, also by value"""

    @property
    def size(self) -> int | None:
        """Number of values; None where there are infinitely many."""
        raise NotImplementedError

    def at(self, index: int) -> Scalar:
        """The value at `index` of a finite domain."""
        raise NotImplementedError

    def index(self, value: object) -> int | None:
        """Where `value` stands in a finite domain; None where it is not in it."""
        raise NotImplementedError

    def holds(self, value: object) -> bool:
        """Whether `value` belongs to the domain."""
        return self.index(value) is not None

    def normal(self, value: object) -> Scalar:
        """`value` in the domain's own type, without noise in the last digits."""
        index = self.index(value)
        if index is None:
            raise ValueError(f"{value!r} is not in {self}")
        return self.at(index)

    def examples(self) -> tuple[Scalar, ...]:
        """Values that stand for all: every value of a list, the ends of a range."""
        raise NotImplementedError

    def values(self) -> Iterator[Scalar]:
        """Every value of a finite domain, in order."""
        if self.size is None:
            raise ValueError(f"{self} has infinitely many values")
        return (self.at(index) for index in range(self.size))


@dataclass(frozen=True, kw_only=True)
class Listed(Domain):
    items: tuple[Scalar, ...]

    @property
    def size(self) -> int:
        return len(self.items)

    def at(self, index: int) -> Scalar:
        return self.items[index]

    def index(self, value: object) -> int | None:
        return next((i for i, item in enumerate(self.items) if same(item, value)), None)

    def examples(self) -> tuple[Scalar, ...]:
        return self.items

    def __str__(self) -> str:
        return ", ".join(shown(item) for item in self.items)


@dataclass(frozen=True, kw_only=True)
class Choice(Listed):
    """Unordered values: the sampler learns about each on its own."""


@dataclass(frozen=True, kw_only=True)
class Grid(Listed):
    """Numbers in ascending order: the sampler takes neighbours to be alike."""


@dataclass(frozen=True, kw_only=True)
class Const(Listed):
    """One value, not searched. Always without `when`: a conditional constant is a `Choice`."""

    @property
    def value(self) -> Scalar:
        return self.items[0]


@dataclass(frozen=True, kw_only=True)
class Int(Domain):
    """Whole numbers low, low + step, ..., high."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    @property
    def size(self) -> int:
        return (self.high - self.low) // self.step + 1

    def at(self, index: int) -> int:
        return self.low + index * self.step

    def index(self, value: object) -> int | None:
        if not is_number(value) or value != int(value) or not self.low <= value <= self.high:
            return None
        index, rest = divmod(int(value) - self.low, self.step)
        return None if rest else index

    def examples(self) -> tuple[int, int]:
        return self.low, self.high

    def __str__(self) -> str:
        by = f" by {self.step}" if self.step != 1 else ""
        return f"{self.low} to {self.high}{by}{', log' if self.log else ''}"


@dataclass(frozen=True, kw_only=True)
class Float(Domain):
    """Numbers from low to high, both included; with `step` only low, low + step, ..., high."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def size(self) -> int | None:
        return None if self.step is None else round((self.high - self.low) / self.step) + 1

    def at(self, index: int) -> float:
        if self.step is None:
            raise ValueError(f"{self} has infinitely many values")
        return float(Decimal(repr(self.low)) + index * Decimal(repr(self.step)))

    def index(self, value: object) -> int | None:
        if self.step is None or not is_number(value):
            return None
        index = round((value - self.low) / self.step)
        near_enough = abs(self.at(index) - value) <= 1e-9 * max(1.0, abs(self.high), abs(self.low))
        return index if near_enough and 0 <= index < (self.size or 0) else None

    def holds(self, value: object) -> bool:
        if self.step is not None:
            return self.index(value) is not None
        return is_number(value) and self.low <= value <= self.high

    def normal(self, value: object) -> Scalar:
        if self.step is not None:
            return super().normal(value)
        if not is_number(value) or not self.holds(value):
            raise ValueError(f"{value!r} is not in {self}")
        return float(value)

    def examples(self) -> tuple[float, float]:
        return self.low, self.high

    def __str__(self) -> str:
        by = f" by {self.step:g}" if self.step is not None else ""
        return f"{self.low:g} to {self.high:g}{by}{', log' if self.log else ''}"


def condition(domain: Domain) -> str:
    """When a domain exists, as the end of a sentence."""
    parts = [
        f"{parent} is {' or '.join(shown(v) for v in values)}"
        for parent, values in domain.when.items()
    ]
    return "where " + " and ".join(parts)


def servable(
    domain: Domain, facts: frozenset[str]
) -> tuple[Domain | None, dict[str, list[Scalar]]]:
    """A domain without the values that the data cannot serve, and those by what they need."""
    if not isinstance(domain, Listed) or not isinstance(domain.needs, Mapping):
        return domain, {}
    without: dict[str, list[Scalar]] = {}
    items = []
    for item in domain.items:
        need = domain.needs.get(str(item))
        if need is None or need in facts:
            items.append(item)
        else:
            without.setdefault(need, []).append(item)
    return (replace(domain, items=tuple(items)) if items else None), without


def cycles(parents: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A sentence for each circle of conditions."""
    problems: list[str] = []
    closed: set[str] = set()

    def follow(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = path[path.index(name) :]
            if not set(circle) & closed:
                closed.update(circle)
                chain = " -> ".join([*circle, name])
                problems.append(
                    f"the conditions of the space form a cycle ({chain}); "
                    "take one of these `when` out"
                )
            return
        for parent in parents.get(name, ()):
            if name not in closed:
                follow(parent, (*path, name))

    for name in parents:
        follow(name, ())
    return problems
