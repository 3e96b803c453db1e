"""What a study searches: domains of parameters, and the conditions under which they exist.

The grammar, one line a parameter, in the YAML under `params:`

    strategy: lr                                        # a constant
    strategy: {choice: [hard, ls, lr]}                  # unordered values
    batch: {grid: [32, 64, 128]}                        # ordered numbers: neighbours are alike
    gamma: {float: [0.2, 0.8], step: 0.1}               # both ends belong to it
    lambda_rd: {float: [1.0e-3, 0.1], log: true}
    layers: {int: [1, 4]}                               # step: and log: as well
    smoothing: {grid: [0.05, 0.1], when: {strategy: [ls, lr]}}    # exists for these strategies only
    lambda_pel: {const: 1.0e-4, needs: unlabelled}      # exists only where the data has it
    target: {choice: [hard, soft], needs: {soft: votes}}   # the value, where the data has it

A setting assigns a value to every searched parameter that exists; constants come beside it.
`enqueue:` lists settings to try first; what an entry leaves out takes the method's default, and
the reserved key `_name` gives it a name, as a row of a table has one:

    enqueue:
      - {strategy: lr, gamma: 0.5}
      - {_name: CE, strategy: hard}

This file knows no sampler.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar

from raysearch.errors import near
from raysearch.frozen import FrozenDict
from trainables.stage import Method, Param

__all__ = [
    "NAME",
    "NEEDS",
    "Choice",
    "Const",
    "Domain",
    "Float",
    "Grid",
    "Int",
    "Scalar",
    "Space",
    "canonical",
    "same",
    "unknown_parameter",
]

Scalar = bool | int | float | str

NEEDS: Mapping[str, str] = FrozenDict(
    votes="rater votes", unlabelled="an unlabelled corpus", corpora="two or more corpora"
)
"""what a parameter may need of the data, and how to say it"""


NAME = "_name"
"""the reserved key that gives an enqueued setting a name"""


def canonical(setting: Mapping[str, Any]) -> str:
    """One text a setting, whatever the order of its parameters and whether it writes 1 or 1.0."""
    plain = {
        name: float(value) if _is_number(value) else value
        for name, value in setting.items()
        if name != NAME
    }
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def same(a: Any, b: Any) -> bool:
    """Equality that keeps true and 1 apart."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _member(value: Any, values: Sequence[Any]) -> bool:
    return any(same(value, item) for item in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# -- domains -----------------------------------------------------------------------------------
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

    def index(self, value: Any) -> int | None:
        """Where `value` stands in a finite domain; None where it is not in it."""
        raise NotImplementedError

    def holds(self, value: Any) -> bool:
        """Whether `value` belongs to the domain."""
        return self.index(value) is not None

    def normal(self, value: Any) -> Scalar:
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
class _Listed(Domain):
    items: tuple[Scalar, ...]

    @property
    def size(self) -> int:
        return len(self.items)

    def at(self, index: int) -> Scalar:
        return self.items[index]

    def index(self, value: Any) -> int | None:
        return next((i for i, item in enumerate(self.items) if same(item, value)), None)

    def examples(self) -> tuple[Scalar, ...]:
        return self.items

    def __str__(self) -> str:
        return ", ".join(_shown(item) for item in self.items)


@dataclass(frozen=True, kw_only=True)
class Choice(_Listed):
    """Unordered values: the sampler learns about each on its own."""


@dataclass(frozen=True, kw_only=True)
class Grid(_Listed):
    """Numbers in ascending order: the sampler takes neighbours to be alike."""


@dataclass(frozen=True, kw_only=True)
class Const(_Listed):
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

    def index(self, value: Any) -> int | None:
        if not _is_number(value) or value != int(value) or not self.low <= value <= self.high:
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

    def index(self, value: Any) -> int | None:
        if self.step is None or not _is_number(value):
            return None
        index = round((value - self.low) / self.step)
        near_enough = abs(self.at(index) - value) <= 1e-9 * max(1.0, abs(self.high), abs(self.low))
        return index if near_enough and 0 <= index < (self.size or 0) else None

    def holds(self, value: Any) -> bool:
        if self.step is not None:
            return self.index(value) is not None
        return _is_number(value) and self.low <= value <= self.high

    def normal(self, value: Any) -> Scalar:
        if self.step is not None:
            return super().normal(value)
        if not self.holds(value):
            raise ValueError(f"{value!r} is not in {self}")
        return float(value)

    def examples(self) -> tuple[float, float]:
        return self.low, self.high

    def __str__(self) -> str:
        by = f" by {self.step:g}" if self.step is not None else ""
        return f"{self.low:g} to {self.high:g}{by}{', log' if self.log else ''}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


# -- the space ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class Space:
    """Domains by parameter. Build it with `Space.parse`; trust it once `problems` is empty."""

    domains: Mapping[str, Domain]
    defaults: Mapping[str, Any] = field(default_factory=FrozenDict)
    """the method's defaults, where the method is known; they stand for what is not searched"""

    @classmethod
    def parse(cls, params: Mapping[str, Any]) -> tuple[Space, list[str]]:
        """The space that `params` describes in the grammar above, and what is wrong with it."""
        domains: dict[str, Domain] = {}
        problems: list[str] = []
        for name, given in params.items():
            reader = _Reader(str(name), given)
            domain = reader.read()
            problems += reader.problems
            if domain is not None:
                domains[str(name)] = domain
        return cls(FrozenDict(domains)), problems

    # -- checking ------------------------------------------------------------------------------
    def problems(self, method: Method) -> list[str]:
        """What does not fit `method`, or itself: one sentence each, all of them."""
        found: list[str] = []
        for name, domain in self.domains.items():
            param = method.params.get(name)
            if param is None:
                found.append(f"params.{name}: {unknown_parameter(method, name)}")
            else:
                found += self._value_problems(name, domain, param)
            found += self._condition_problems(name, domain, method)
        found += _cycles({name: tuple(domain.when) for name, domain in self.domains.items()})
        return found

    def _value_problems(self, name: str, domain: Domain, param: Param) -> list[str]:
        whole = isinstance(param.default, int) and not isinstance(param.default, bool)
        if isinstance(domain, Float) and whole and param.choices is None:
            return [f"params.{name} takes whole numbers; write int: or grid: instead of float:"]
        if isinstance(domain, Int) and domain.log and isinstance(param.default, float):
            return [f"params.{name} takes any number; write float: with log: true, or grid:"]
        if isinstance(domain, Float | Int) and param.choices is not None:
            kind = "float" if isinstance(domain, Float) else "int"
            return [
                f"params.{name} must be one of {list(param.choices)}; write choice: instead of "
                f"{kind}:"
            ]
        checked = (param.problem(f"params.{name}", value) for value in domain.examples())
        return [
            f"{problem}; declared as: {param.help}" for problem in checked if problem is not None
        ]

    def _condition_problems(self, name: str, domain: Domain, method: Method) -> list[str]:
        found = []
        for parent, values in domain.when.items():
            if parent not in self.domains:
                found.append(
                    f"params.{name}.when names {parent!r}, which is not among the space's "
                    f"parameters{near(parent, self.domains)}; add params.{parent} (a constant "
                    "will do), or take the condition out"
                )
                continue
            param = method.params.get(parent)
            if param is not None:
                checked = (param.problem(f"params.{name}.when: {parent}", v) for v in values)
                found += [problem for problem in checked if problem is not None]
        return found

    def typed(self, method: Method) -> Space:
        """The same space with numbers in the types that `method` declares, and its defaults.

        A space that writes 0 for a parameter declared 0.0 means the same setting.
        """
        domains: dict[str, Domain] = {}
        for name, domain in self.domains.items():
            when = {
                parent: tuple(_typed(value, method.params.get(parent)) for value in values)
                for parent, values in domain.when.items()
            }
            param = method.params.get(name)
            floats = param is not None and isinstance(param.default, float)
            if isinstance(domain, _Listed):
                items = tuple(_typed(item, param) for item in domain.items)
                domain = replace(domain, items=items)
            elif isinstance(domain, Int) and floats and not domain.log:
                domain = Float(
                    low=float(domain.low),
                    high=float(domain.at(domain.size - 1)),
                    step=float(domain.step),
                    needs=domain.needs,
                )
            domains[name] = replace(domain, when=FrozenDict(when))
        defaults = {name: param.default for name, param in method.params.items()}
        return Space(FrozenDict(domains), FrozenDict(defaults))

    def available(self, facts: frozenset[str]) -> tuple[Space, tuple[str, ...]]:
        """What of the space exists on data with these `facts`, and a sentence a lost parameter.

        A parameter whose need is not met takes the method's default, and so do the parameters
        that exist only for other values of it.
        """
        domains = dict(self.domains)
        lost: dict[str, str] = {
            name: NEEDS.get(domain.needs, domain.needs)
            for name, domain in self.domains.items()
            if isinstance(domain.needs, str) and domain.needs not in facts
        }
        sentences = [
            f"params.{name} is not used: it needs {need}, which this data does not have"
            f"{self._default_said(name)}"
            for name, need in lost.items()
        ]
        for name in lost:
            del domains[name]
        gone: dict[str, tuple[Scalar, ...]] = {}
        for name, domain in list(domains.items()):
            kept, without = _served(domain, facts)
            if kept is None:
                del domains[name]
                sentences.append(
                    f"params.{name} is not used: this data serves none of its values"
                    f"{self._default_said(name)}"
                )
                continue
            domains[name] = kept
            gone[name] = tuple(value for values in without.values() for value in values)
            sentences += [
                f"params.{name} leaves out {', '.join(map(_shown, values))}: "
                f"{'it needs' if len(values) == 1 else 'they need'} {NEEDS.get(need, need)}, "
                "which this data does not have"
                for need, values in without.items()
            ]
        for name in self.order:
            if name not in domains:
                continue
            when = dict(domains[name].when)
            if any(
                all(_member(value, gone.get(p, ())) for value in when[p])
                for p in when
                if p in domains
            ):
                del domains[name]  # it belonged to the values that are left out
                continue
            for parent in [p for p in when if p not in domains]:
                if parent in self.defaults and _member(self.defaults[parent], when[parent]):
                    del when[parent]  # the default satisfies it
                    continue
                del domains[name]
                sentences.append(
                    f"params.{name} is not used: it depends on {parent!r}, which is not used"
                    f"{self._default_said(name)}"
                )
                break
            else:
                domains[name] = replace(domains[name], when=FrozenDict(when))
        return Space(FrozenDict(domains), self.defaults), tuple(sentences)

    def _default_said(self, name: str) -> str:
        if name not in self.defaults:
            return ""
        return f"; {name} is {_shown(self.defaults[name])}, the method's default"

    # -- structure -----------------------------------------------------------------------------
    @property
    def order(self) -> tuple[str, ...]:
        """Parameters, those named in conditions before those that depend on them."""
        placed: dict[str, None] = {}
        waiting = dict(self.domains)
        while waiting:
            ready = [
                name
                for name, domain in waiting.items()
                if all(parent not in waiting for parent in domain.when)
            ]
            if not ready:
                raise ValueError(f"the conditions of {', '.join(waiting)} form a cycle")
            placed[ready[0]] = None
            del waiting[ready[0]]
        return tuple(placed)

    def searched(self) -> tuple[str, ...]:
        """The parameters that are no constants, in the order of `order`."""
        return tuple(n for n in self.order if not isinstance(self.domains[n], Const))

    def constants(self) -> dict[str, Scalar]:
        """The pinned parameters."""
        return {n: d.value for n, d in self.domains.items() if isinstance(d, Const)}

    def exists(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether `name` exists where the parameters before it have these `values`.

        Args:
            name: a parameter of the space.
            values: constants, and the searched parameters before it that exist.
        """
        when = self.domains[name].when
        return all(p in values and _member(values[p], allowed) for p, allowed in when.items())

    def size(self) -> int | None:
        """Number of distinct settings; None where there are infinitely many."""
        order = self.searched()
        parents: dict[str, list[Scalar]] = {}
        for domain in self.domains.values():
            for parent, values in domain.when.items():
                parents.setdefault(parent, []).extend(values)
        free = [name for name in order if name not in parents]

        def count(place: int, values: dict[str, Any]) -> int | None:
            """Settings of the parameters from `place` on. Values that no condition tells apart
            are counted together."""
            if place == len(deciding):
                sizes = [self.domains[n].size for n in free if self.exists(n, values)]
                return None if None in sizes else math.prod(s for s in sizes if s is not None)
            name = deciding[place]
            domain = self.domains[name]
            if not self.exists(name, values):
                return count(place + 1, values)
            if domain.size is None:
                return None
            told: list[Any] = []
            for value in parents[name]:
                if domain.holds(value) and not _member(value, told):
                    told.append(value)
            total = 0
            rest = domain.size - len(told)
            for value, times in [*((v, 1) for v in told), (_OTHER, rest)]:
                if times:
                    below = count(place + 1, {**values, name: value})
                    if below is None:
                        return None
                    total += times * below
            return total

        deciding = [name for name in order if name in parents]
        return count(0, self.constants())

    def points(self) -> Iterator[dict[str, Scalar]]:
        """Every setting once, the last parameter changing fastest.

        Raises:
            ValueError: the space is infinite.
        """
        endless = [n for n in self.searched() if self.domains[n].size is None]
        if endless:
            raise ValueError(f"{', '.join(endless)} take infinitely many values")
        order = self.searched()
        constants = self.constants()

        def walk(place: int, setting: dict[str, Scalar]) -> Iterator[dict[str, Scalar]]:
            if place == len(order):
                yield dict(setting)
                return
            name = order[place]
            if not self.exists(name, {**constants, **setting}):
                yield from walk(place + 1, setting)
                return
            for value in self.domains[name].values():
                setting[name] = value
                yield from walk(place + 1, setting)
            del setting[name]

        return walk(0, {})

    # -- settings ------------------------------------------------------------------------------
    def active(self, setting: Mapping[str, Any]) -> dict[str, Scalar]:
        """The searched parameters of `setting` that exist in it, in normal types.

        Raises:
            ValueError: a value is not in its domain.
        """
        values: dict[str, Any] = dict(self.constants())
        found: dict[str, Scalar] = {}
        for name in self.searched():
            if name in setting and self.exists(name, values):
                found[name] = values[name] = self.domains[name].normal(setting[name])
        return found

    def contains(self, setting: Mapping[str, Any]) -> str | None:
        """Why `setting` is not a whole setting of this space, as one sentence, or None.

        Constants may be given, with their value.
        """
        for name in setting:
            if name not in self.domains:
                return f"{name!r} is not a parameter of the space{near(name, self.domains)}"
        values: dict[str, Any] = {}
        for name in self.order:
            domain = self.domains[name]
            if not self.exists(name, values):
                if name in setting:
                    return f"{name} exists only {_condition(domain)}; leave it out here"
                continue
            if isinstance(domain, Const):
                values[name] = domain.value
                if name in setting and domain.index(setting[name]) is None:
                    return (
                        f"{name} is pinned to {_shown(domain.value)}, "
                        f"but the setting has {_shown(setting[name])}"
                    )
            elif name not in setting:
                return f"it gives no value for {name}, which takes {domain}"
            elif not domain.holds(setting[name]):
                return f"{name} takes {domain}, but the setting has {_shown(setting[name])}"
            else:
                values[name] = domain.normal(setting[name])
        return None

    # -- settings to try first -----------------------------------------------------------------
    def complete(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """`entry` with the method's defaults for the searched parameters that it leaves out.

        A default is taken where its parameter exists and its domain holds it.
        """
        given = {name: value for name, value in entry.items() if name != NAME}
        values: dict[str, Any] = dict(self.constants())
        for name in self.searched():
            if not self.exists(name, values):
                continue
            domain = self.domains[name]
            default = self.defaults.get(name)
            if name not in given and name in self.defaults and domain.holds(default):
                given[name] = domain.normal(default)
            if name in given:
                values[name] = given[name]
        return {**({NAME: entry[NAME]} if NAME in entry else {}), **given}

    def enqueued(
        self,
        entries: Sequence[Mapping[str, Any]],
        method: Method | None = None,
        facts: frozenset[str] = frozenset(),
    ) -> tuple[list[tuple[str, dict[str, Scalar]]], list[str]]:
        """The settings of `enqueue` as this space has them, each with its name ("" where none).

        Where a parameter of an entry is not in the space (the data cannot serve it), an unnamed
        entry goes on without it; a named one claims something and is left out, unless the method's
        default is what it asked for. With `method`, an entry that needs of the data what is not
        among its `facts` is left out as well.

        Returns:
            The settings, and a sentence for each entry that was left out.
        """
        found: list[tuple[str, dict[str, Scalar]]] = []
        sentences: list[str] = []
        for place, entry in enumerate(entries, start=1):
            name = str(entry.get(NAME, ""))
            given = {key: value for key, value in entry.items() if key != NAME}
            lost = [
                key
                for key, value in given.items()
                if key not in self.domains and not same(value, self.defaults.get(key))
            ]
            kept = self.complete({k: v for k, v in given.items() if k in self.domains})
            alive = self.existing(kept)
            problem = self.contains(alive)
            if problem is None and name and lost:
                problem = f"it sets {', '.join(lost)}, which this data cannot serve"
            if problem is None and method is not None:
                full = method.resolve({**self.constants(), **self.active(alive)})
                missing = sorted(method.needs(full) - facts)
                if missing:
                    needs = " and ".join(NEEDS.get(need, need) for need in missing)
                    problem = f"it needs {needs}, which this data does not have"
            if problem is None:
                found.append((name, self.active(alive)))
            else:
                title = repr(name) if name else f"number {place}"
                sentences.append(f"the enqueued setting {title} is left out: {problem}")
        return found, sentences

    def existing(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """`setting` without the parameters that do not exist in it. Values are not checked."""
        values: dict[str, Any] = {}
        for name in self.order:
            domain = self.domains[name]
            if self.exists(name, values):
                if isinstance(domain, Const):
                    values[name] = domain.value
                elif name in setting:
                    values[name] = setting[name]
        return {name: value for name, value in setting.items() if name in values}


def unknown_parameter(method: Method, name: str) -> str:
    """That `method` has no parameter `name`, with the nearest one or else all of them."""
    hint = near(name, method.params) or f"; it has {', '.join(method.params)}"
    return f"method {method.name!r} has no parameter {name!r}{hint}"


_OTHER = object()
"""stands for every value of a parameter that no condition names"""


def _condition(domain: Domain) -> str:
    parts = [
        f"{parent} is {' or '.join(_shown(v) for v in values)}"
        for parent, values in domain.when.items()
    ]
    return "where " + " and ".join(parts)


def _served(domain: Domain, facts: frozenset[str]) -> tuple[Domain | None, dict[str, list[Scalar]]]:
    """A domain without the values that the data cannot serve, and those by what they need."""
    if not isinstance(domain, _Listed) or not isinstance(domain.needs, Mapping):
        return domain, {}
    without: dict[str, list[Scalar]] = {}
    kept = []
    for item in domain.items:
        need = domain.needs.get(str(item))
        if need is None or need in facts:
            kept.append(item)
        else:
            without.setdefault(need, []).append(item)
    return (replace(domain, items=tuple(kept)) if kept else None), without


def _typed(value: Any, param: Param | None) -> Any:
    if param is None or isinstance(value, bool) or not _is_number(value):
        return value
    if isinstance(param.default, float):
        return float(value)
    whole = isinstance(param.default, int) and not isinstance(param.default, bool)
    return int(value) if whole and value == int(value) else value


def _cycles(parents: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A sentence for each circle of conditions."""
    found: list[str] = []
    seen: set[str] = set()

    def follow(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = path[path.index(name) :]
            if not set(circle) & seen:
                seen.update(circle)
                chain = " -> ".join([*circle, name])
                found.append(
                    f"the conditions of the space form a cycle ({chain}); "
                    "take one of these `when` out"
                )
            return
        for parent in parents.get(name, ()):
            if name not in seen:
                follow(parent, (*path, name))

    for name in parents:
        follow(name, ())
    return found


class _Reader:
    """Reads one parameter's line of the grammar, and collects what is wrong with it."""

    KINDS: ClassVar[dict[str, tuple[str, ...]]] = {
        "choice": (),
        "grid": (),
        "const": (),
        "float": ("step", "log"),
        "int": ("step", "log"),
    }

    def __init__(self, name: str, given: Any) -> None:
        self.key = f"params.{name}"
        self.given = given
        self.problems: list[str] = []

    def read(self) -> Domain | None:
        given = self.given
        if not isinstance(given, Mapping):
            if isinstance(given, list | tuple):
                values = ", ".join(_shown(item) for item in given)
                self._wrong(f"is a list; write {{choice: [{values}]}} to search these values")
                return None
            return Const(items=(given,)) if self._scalars([given]) else None
        kinds = [kind for kind in self.KINDS if kind in given]
        if len(kinds) != 1:
            got = "none" if not kinds else " and ".join(kinds)
            self._wrong(
                f"must have exactly one of {', '.join(self.KINDS)}, but has {got} "
                f"(keys: {', '.join(map(str, given)) or 'none'})"
            )
            return None
        kind = kinds[0]
        options = (*self.KINDS[kind], "when", "needs")
        for option in given:
            if option != kind and option not in options:
                self._wrong(
                    f"has no option {str(option)!r} beside {kind}{near(str(option), options)}; "
                    f"options are {', '.join(options)}"
                )
        when, needs = self._when(), self._needs()
        domain = self._numbers(kind) if kind in ("float", "int") else self._listed(kind, when)
        if self.problems or domain is None:
            return None
        return replace(domain, when=when, needs=needs)

    def _wrong(self, what: str) -> None:
        self.problems.append(f"{self.key} {what}")

    def _scalars(self, values: Sequence[Any]) -> bool:
        for value in values:
            if not isinstance(value, Scalar):
                self._wrong(f"takes numbers, texts, true and false, but got {value!r}")
            elif isinstance(value, float) and not math.isfinite(value):
                self._wrong(f"takes finite numbers, but got {value!r}")
        return not self.problems

    def _listed(self, kind: str, when: Mapping[str, Any]) -> Domain | None:
        values = self.given[kind]
        if kind == "const":
            if not self._scalars([values]):
                return None
            return Choice(items=(values,)) if when else Const(items=(values,))
        if not isinstance(values, list | tuple) or not values:
            self._wrong(f"{kind} must be a list of at least one value, but got {values!r}")
            return None
        if not self._scalars(values):
            return None
        if any(isinstance(v, float) for v in values) and all(_is_number(v) for v in values):
            values = [float(v) for v in values]
        repeated = [v for i, v in enumerate(values) if _member(v, values[:i])]
        if repeated:
            self._wrong(f"{kind} lists {_shown(repeated[0])} twice; list each value once")
        if kind == "choice":
            return Choice(items=tuple(values))
        if not all(_is_number(v) for v in values) or list(values) != sorted(values):
            self._wrong(
                f"grid must be numbers in ascending order, but got {list(values)!r}; "
                "write choice: for values without an order"
            )
            return None
        return Grid(items=tuple(values))

    def _numbers(self, kind: str) -> Domain | None:
        ends = self.given[kind]
        whole = kind == "int"
        what = "whole numbers" if whole else "numbers"
        if (
            not isinstance(ends, list | tuple)
            or len(ends) != 2
            or not all(_is_number(e) and (not whole or e == int(e)) for e in ends)
        ):
            self._wrong(f"{kind} must be [low, high], two {what}, but got {ends!r}")
            return None
        low, high = ends
        step, log = self.given.get("step"), self.given.get("log", False)
        if not low < high:
            self._wrong(
                f"`low < high` must hold, but got low={low}, high={high}; "
                f"to pin it write {self.key}={low}"
            )
        if not isinstance(log, bool):
            self._wrong(f"log must be true or false, but got {log!r}")
        elif log and low <= 0:
            self._wrong(f"log: true needs `low > 0`, but got low={low}")
        elif log and step is not None:
            self._wrong("has both log and step; keep one, or list the values with grid:")
        if step is not None:
            self._check_step(step, low, high, whole)
        if self.problems:
            return None
        if whole:
            return Int(low=int(low), high=int(high), step=int(step or 1), log=log)
        return Float(
            low=float(low), high=float(high), step=None if step is None else float(step), log=log
        )

    def _check_step(self, step: Any, low: Any, high: Any, whole: bool) -> None:
        if not _is_number(step) or step <= 0 or (whole and step != int(step)):
            what = "whole number" if whole else "number"
            self._wrong(f"step must be a {what} above 0, but got {step!r}")
            return
        span = Decimal(repr(high)) - Decimal(repr(low))
        if span > 0 and span % Decimal(repr(step)):
            last = Decimal(repr(low)) + span // Decimal(repr(step)) * Decimal(repr(step))
            self._wrong(
                f"high must be low and a whole number of steps, but got low={low}, high={high}, "
                f"step={step}; the last step below it is {last}"
            )

    def _when(self) -> Mapping[str, tuple[Scalar, ...]]:
        when = self.given.get("when", {})
        if not isinstance(when, Mapping):
            self._wrong(
                f"when must map parameters to values, as in when: {{strategy: lr}}, "
                f"but got {when!r}"
            )
            return FrozenDict()
        found = {}
        for parent, values in when.items():
            listed = values if isinstance(values, list | tuple) else [values]
            if not listed:
                self._wrong(f"when: {parent} lists no value, so {self.key} could never exist")
            self._scalars(listed)
            found[str(parent)] = tuple(listed)
        return FrozenDict(found)

    def _needs(self) -> str | Mapping[str, str] | None:
        needs = self.given.get("needs")
        if needs is None or (isinstance(needs, str) and needs in NEEDS):
            return needs
        if isinstance(needs, Mapping):
            values = self.given.get("choice")
            if not isinstance(values, list | tuple):
                self._wrong("needs by value goes with choice: alone")
                return None
            known = ", ".join(NEEDS)
            for value, need in needs.items():
                if not _member(value, values):
                    self._wrong(f"needs names {_shown(value)}, which is not one of its values")
                elif need not in NEEDS:
                    self._wrong(f"needs: {_shown(value)} must be one of {known}, but got {need!r}")
            return FrozenDict(needs)
        self._wrong(f"needs must be one of {', '.join(NEEDS)}, but got {needs!r}")
        return None
