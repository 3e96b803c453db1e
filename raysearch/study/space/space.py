"""The space: domains by parameter, and the settings that it holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from raysearch.data.section import FrozenDict
from raysearch.errors import near
from raysearch.stages import methods as registry
from raysearch.study.space.domains import (
    Const,
    Domain,
    Float,
    Int,
    Listed,
    condition,
    cycles,
    servable,
)
from raysearch.study.space.grammar import DomainReader
from raysearch.study.space.values import (
    NAME,
    NEEDS,
    Scalar,
    is_number,
    member,
    same,
    shown,
)
from trainables.stage import Method, Param


@dataclass(frozen=True)
class Space:
    """Domains by parameter. Build it with `Space.parse`; trust it once `problems` is empty."""

    domains: Mapping[str, Domain]
    defaults: Mapping[str, object] = field(default_factory=FrozenDict)
    """the method's defaults, where the method is known; they stand for what is not searched"""
    inherits: Mapping[str, str] = field(default_factory=FrozenDict)
    """of the method, where it is known: a parameter -> the one whose pinned value it has too"""

    @classmethod
    def parse(cls, params: Mapping[str, object]) -> tuple[Space, list[str]]:
        """The space that `params` describes in the grammar above, and what is wrong with it."""
        domains: dict[str, Domain] = {}
        problems: list[str] = []
        for name, spec in params.items():
            reader = DomainReader(str(name), spec)
            domain = reader.read()
            problems += reader.problems
            if domain is not None:
                domains[str(name)] = domain
        return cls(FrozenDict(domains)), problems

    # -- checking ------------------------------------------------------------------------------
    def problems(self, method: Method) -> list[str]:
        """What does not fit `method`, or itself: one sentence each, all of them."""
        problems: list[str] = []
        for name, domain in self.domains.items():
            param = method.params.get(name)
            if param is None:
                problems.append(f"params.{name}: {unknown_parameter(method, name)}")
            else:
                problems += self._value_problems(name, domain, param)
            problems += self._condition_problems(name, domain, method)
        problems += cycles({name: tuple(domain.when) for name, domain in self.domains.items()})
        return problems

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
        problems = []
        for parent, values in domain.when.items():
            if parent not in self.domains:
                problems.append(
                    f"params.{name}.when names {parent!r}, which is not among the space's "
                    f"parameters{near(parent, self.domains)}; add params.{parent} (a constant "
                    "will do), or take the condition out"
                )
                continue
            param = method.params.get(parent)
            if param is not None:
                checked = (param.problem(f"params.{name}.when: {parent}", v) for v in values)
                problems += [problem for problem in checked if problem is not None]
        return problems

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
            if isinstance(domain, Listed):
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
        return Space(FrozenDict(domains), FrozenDict(defaults), FrozenDict(method.inherits))

    def available(self, facts: frozenset[str]) -> tuple[Space, tuple[str, ...]]:
        """What of the space exists on data with these `facts`, and a sentence a lost parameter.

        A parameter whose need is not met takes the method's default, and so do the parameters
        that exist only for other values of it.
        """
        domains = dict(self.domains)
        unserved: dict[str, str] = {
            name: NEEDS.get(domain.needs, domain.needs)
            for name, domain in self.domains.items()
            if isinstance(domain.needs, str) and domain.needs not in facts
        }
        sentences = [
            f"params.{name} is not used: it needs {need}, which this data does not have"
            f"{self._default_note(name)}"
            for name, need in unserved.items()
        ]
        for name in unserved:
            del domains[name]
        unserved_values: dict[str, tuple[Scalar, ...]] = {}
        for name, domain in list(domains.items()):
            part, without = servable(domain, facts)
            if part is None:
                del domains[name]
                sentences.append(
                    f"params.{name} is not used: this data serves none of its values"
                    f"{self._default_note(name)}"
                )
                continue
            domains[name] = part
            unserved_values[name] = tuple(value for values in without.values() for value in values)
            sentences += [
                f"params.{name} leaves out {', '.join(map(shown, values))}: "
                f"{'it needs' if len(values) == 1 else 'they need'} {NEEDS.get(need, need)}, "
                "which this data does not have"
                for need, values in without.items()
            ]
        sentences += self._drop_dependent(domains, unserved_values)
        return replace(self, domains=FrozenDict(domains)), tuple(sentences)

    def _drop_dependent(
        self, domains: dict[str, Domain], unserved_values: Mapping[str, tuple[Scalar, ...]]
    ) -> list[str]:
        """Take out of `domains` what exists only for parameters or values that are `gone`.

        Returns:
            A sentence for each parameter that no default of its parent saves.
        """
        sentences = []
        for name in self.order:
            if name not in domains:
                continue
            when = dict(domains[name].when)
            if any(
                all(member(value, unserved_values.get(p, ())) for value in when[p])
                for p in when
                if p in domains
            ):
                del domains[name]  # it belonged to the values that are left out
                continue
            for parent in [p for p in when if p not in domains]:
                if parent in self.defaults and member(self.defaults[parent], when[parent]):
                    del when[parent]  # the default satisfies it
                    continue
                del domains[name]
                sentences.append(
                    f"params.{name} is not used: it depends on {parent!r}, which is not used"
                    f"{self._default_note(name)}"
                )
                break
            else:
                domains[name] = replace(domains[name], when=FrozenDict(when))
        return sentences

    def _default_note(self, name: str) -> str:
        if name not in self.defaults:
            return ""
        return f"; {name} is {shown(self.defaults[name])}, the method's default"

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
        """The pinned parameters, and those that inherit the value of one."""
        pins = {n: d.value for n, d in self.domains.items() if isinstance(d, Const)}
        heirs = {
            name: pins[other]
            for name, other in self.inherits.items()
            if other in pins and name not in self.domains
        }
        return heirs | pins

    def examples(
        self, enqueued: Iterable[Mapping[str, Scalar]] = ()
    ) -> Iterator[dict[str, Scalar]]:
        """Settings that stand for every setting that a study may try.

        Args:
            enqueued: settings to be tried first.

        Yields:
            The constants alone; with each of `enqueued`; with each value, or each end, of each
            domain. What a setting lacks has its default.
        """
        constants = self.constants()
        values = ({name: x} for name, d in self.domains.items() for x in d.examples())
        for setting in ({}, *enqueued, *values):
            yield {**constants, **setting}

    def exists(self, name: str, values: Mapping[str, object]) -> bool:
        """Whether `name` exists where the parameters before it have these `values`.

        Args:
            name: a parameter of the space.
            values: constants, and the searched parameters before it that exist.
        """
        when = self.domains[name].when
        return all(p in values and member(values[p], allowed) for p, allowed in when.items())

    def size(self) -> int | None:
        """Number of distinct settings; None where there are infinitely many."""
        order = self.searched()
        parents: dict[str, list[Scalar]] = {}
        for domain in self.domains.values():
            for parent, values in domain.when.items():
                parents.setdefault(parent, []).extend(values)
        free = [name for name in order if name not in parents]

        def count(place: int, values: Mapping[str, object]) -> int | None:
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
            decisive: list[Scalar] = []
            for value in parents[name]:
                if domain.holds(value) and not member(value, decisive):
                    decisive.append(value)
            total = 0
            rest = domain.size - len(decisive)
            choices: list[tuple[object, int]] = [*((v, 1) for v in decisive), (_OTHER, rest)]
            for choice, times in choices:
                if times:
                    below = count(place + 1, {**values, name: choice})
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
    def active(self, setting: Mapping[str, object]) -> dict[str, Scalar]:
        """The searched parameters of `setting` that exist in it, in normal types.

        Raises:
            ValueError: a value is not in its domain.
        """
        values: dict[str, object] = dict(self.constants())
        active: dict[str, Scalar] = {}
        for name in self.searched():
            if name in setting and self.exists(name, values):
                active[name] = values[name] = self.domains[name].normal(setting[name])
        return active

    def contains(self, setting: Mapping[str, object]) -> str | None:
        """Why `setting` is not a whole setting of this space, as one sentence, or None.

        Constants may be given, with their value.
        """
        for name in setting:
            if name not in self.domains:
                return f"{name!r} is not a parameter of the space{near(name, self.domains)}"
        values: dict[str, object] = {}
        for name in self.order:
            domain = self.domains[name]
            if not self.exists(name, values):
                if name in setting:
                    return f"{name} exists only {condition(domain)}; leave it out here"
                continue
            if isinstance(domain, Const):
                values[name] = domain.value
                if name in setting and domain.index(setting[name]) is None:
                    return (
                        f"{name} is pinned to {shown(domain.value)}, "
                        f"but the setting has {shown(setting[name])}"
                    )
            elif name not in setting:
                return f"it gives no value for {name}, which takes {domain}"
            elif not domain.holds(setting[name]):
                return f"{name} takes {domain}, but the setting has {shown(setting[name])}"
            else:
                values[name] = domain.normal(setting[name])
        return None

    # -- settings to try first -----------------------------------------------------------------
    def complete(self, entry: Mapping[str, object]) -> dict[str, object]:
        """`entry` with the method's defaults for the searched parameters that it leaves out.

        A default is taken where its parameter exists and its domain holds it.
        """
        whole = {name: value for name, value in entry.items() if name != NAME}
        values: dict[str, object] = dict(self.constants())
        for name in self.searched():
            if not self.exists(name, values):
                continue
            domain = self.domains[name]
            default = self.defaults.get(name)
            if name not in whole and name in self.defaults and domain.holds(default):
                whole[name] = domain.normal(default)
            if name in whole:
                values[name] = whole[name]
        return {**({NAME: entry[NAME]} if NAME in entry else {}), **whole}

    def enqueued(
        self,
        entries: Sequence[Mapping[str, object]],
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
        settings: list[tuple[str, dict[str, Scalar]]] = []
        sentences: list[str] = []
        for place, entry in enumerate(entries, start=1):
            name = str(entry.get(NAME, ""))
            values = {key: value for key, value in entry.items() if key != NAME}
            foreign = [
                key
                for key, value in values.items()
                if key not in self.domains and not same(value, self.defaults.get(key))
            ]
            whole = self.complete({k: v for k, v in values.items() if k in self.domains})
            alive = self.existing(whole)
            problem = self.contains(alive)
            if problem is None and name and foreign:
                problem = f"it sets {', '.join(foreign)}, which this data cannot serve"
            if problem is None and method is not None:
                full = method.resolve({**self.constants(), **self.active(alive)})
                missing = sorted(method.needs(full) - facts)
                if missing:
                    needs = " and ".join(NEEDS.get(need, need) for need in missing)
                    problem = f"it needs {needs}, which this data does not have"
            if problem is None:
                settings.append((name, self.active(alive)))
            else:
                title = repr(name) if name else f"number {place}"
                sentences.append(f"the enqueued setting {title} is left out: {problem}")
        return settings, sentences

    def existing(self, setting: Mapping[str, object]) -> dict[str, object]:
        """`setting` without the parameters that do not exist in it. Values are not checked."""
        values: dict[str, object] = {}
        for name in self.order:
            domain = self.domains[name]
            if self.exists(name, values):
                if isinstance(domain, Const):
                    values[name] = domain.value
                elif name in setting:
                    values[name] = setting[name]
        return {name: value for name, value in setting.items() if name in values}


def unknown_parameter(method: Method, name: str) -> str:
    """That `method` has no parameter `name`, which methods have it, and the nearest or all."""
    have = [other for other in registry.methods() if name in registry.method(other).params]
    others = f" (it is one of {', '.join(have)})" if have else ""
    hint = near(name, method.params) or f"; it has {', '.join(method.params)}"
    return f"method {method.name!r} has no parameter {name!r}{others}{hint}"


_OTHER = object()
"""stands for every value of a parameter that no condition names"""


def _typed(value: Scalar, param: Param | None) -> Scalar:
    if param is None or isinstance(value, bool) or not is_number(value):
        return value
    if isinstance(param.default, float):
        return float(value)
    whole = isinstance(param.default, int) and not isinstance(param.default, bool)
    return int(value) if whole and value == int(value) else value
