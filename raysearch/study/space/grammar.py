"""One line of the grammar -> a domain, or what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

from raysearch.data.section import FrozenDict
from raysearch.errors import near
from raysearch.study.space.domains import Choice, Const, Domain, Float, Grid, Int
from raysearch.study.space.values import NEEDS, Scalar, is_number, member, shown


class DomainReader:
    """Reads one parameter's line of the grammar, and collects what is wrong with it."""

    KINDS: ClassVar[dict[str, tuple[str, ...]]] = {
        "choice": (),
        "grid": (),
        "const": (),
        "float": ("step", "log"),
        "int": ("step", "log"),
    }

    def __init__(self, name: str, spec: Any) -> None:
        self.key = f"params.{name}"
        self.spec = spec
        self.problems: list[str] = []

    def read(self) -> Domain | None:
        spec = self.spec
        if not isinstance(spec, Mapping):
            if isinstance(spec, list | tuple):
                values = ", ".join(shown(item) for item in spec)
                self._wrong(f"is a list; write {{choice: [{values}]}} to search these values")
                return None
            return Const(items=(spec,)) if self._scalars([spec]) else None
        kinds = [kind for kind in self.KINDS if kind in spec]
        if len(kinds) != 1:
            got = "none" if not kinds else " and ".join(kinds)
            self._wrong(
                f"must have exactly one of {', '.join(self.KINDS)}, but has {got} "
                f"(keys: {', '.join(map(str, spec)) or 'none'})"
            )
            return None
        kind = kinds[0]
        options = (*self.KINDS[kind], "when", "needs")
        for option in spec:
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

    def _scalars(self, values: Sequence[object]) -> bool:
        for value in values:
            if not isinstance(value, Scalar):
                self._wrong(f"takes numbers, texts, true and false, but got {value!r}")
            elif isinstance(value, float) and not math.isfinite(value):
                self._wrong(f"takes finite numbers, but got {value!r}")
        return not self.problems

    def _listed(self, kind: str, when: Mapping[str, object]) -> Domain | None:
        values = self.spec[kind]
        if kind == "const":
            if not self._scalars([values]):
                return None
            return Choice(items=(values,)) if when else Const(items=(values,))
        if not isinstance(values, list | tuple) or not values:
            self._wrong(f"{kind} must be a list of at least one value, but got {values!r}")
            return None
        if not self._scalars(values):
            return None
        if any(isinstance(v, float) for v in values) and all(is_number(v) for v in values):
            values = [float(v) for v in values]
        repeated = [v for i, v in enumerate(values) if member(v, values[:i])]
        if repeated:
            self._wrong(f"{kind} lists {shown(repeated[0])} twice; list each value once")
        if kind == "choice":
            return Choice(items=tuple(values))
        if not all(is_number(v) for v in values) or list(values) != sorted(values):
            self._wrong(
                f"grid must be numbers in ascending order, but got {list(values)!r}; "
                "write choice: for values without an order"
            )
            return None
        return Grid(items=tuple(values))

    def _numbers(self, kind: str) -> Domain | None:
        ends = self.spec[kind]
        whole = kind == "int"
        what = "whole numbers" if whole else "numbers"
        if (
            not isinstance(ends, list | tuple)
            or len(ends) != 2
            or not all(is_number(e) and (not whole or e == int(e)) for e in ends)
        ):
            self._wrong(f"{kind} must be [low, high], two {what}, but got {ends!r}")
            return None
        low, high = ends
        step, log = self.spec.get("step"), self.spec.get("log", False)
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

    def _check_step(self, step: object, low: float, high: float, whole: bool) -> None:
        if not is_number(step) or step <= 0 or (whole and step != int(step)):
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
        when = self.spec.get("when", {})
        if not isinstance(when, Mapping):
            self._wrong(
                f"when must map parameters to values, as in when: {{strategy: lr}}, "
                f"but got {when!r}"
            )
            return FrozenDict()
        conditions = {}
        for parent, values in when.items():
            listed = values if isinstance(values, list | tuple) else [values]
            if not listed:
                self._wrong(f"when: {parent} lists no value, so {self.key} could never exist")
            self._scalars(listed)
            conditions[str(parent)] = tuple(listed)
        return FrozenDict(conditions)

    def _needs(self) -> str | Mapping[str, str] | None:
        needs = self.spec.get("needs")
        if needs is None or (isinstance(needs, str) and needs in NEEDS):
            return needs
        if isinstance(needs, Mapping):
            values = self.spec.get("choice")
            if not isinstance(values, list | tuple):
                self._wrong("needs by value goes with choice: alone")
                return None
            known = ", ".join(NEEDS)
            for value, need in needs.items():
                if not member(value, values):
                    self._wrong(f"needs names {shown(value)}, which is not one of its values")
                elif need not in NEEDS:
                    self._wrong(f"needs: {shown(value)} must be one of {known}, but got {need!r}")
            return FrozenDict(needs)
        self._wrong(f"needs must be one of {', '.join(NEEDS)}, but got {needs!r}")
        return None
