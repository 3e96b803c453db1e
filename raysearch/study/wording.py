"""How values are written, the same wherever a person reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from raysearch.selection import metric_of

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def points(x: float) -> str:
    """A difference of fractions in points, one decimal, with its sign."""
    # + 0.0: a difference that rounds to nothing has no minus
    return f"{round(100 * x, 1) + 0.0:+.1f}".replace("-", "−")


def percent(x: float) -> str:
    """A fraction in %, one decimal, without the sign."""
    return f"{100 * x:.1f}"


def number(x: float, sign: bool = False) -> str:
    """A score that is no fraction, or a difference of such: three decimals."""
    # + 0.0: what rounds to nothing has no minus
    return f"{round(x, 3) + 0.0:{'+' if sign else ''}.3f}".replace("-", "−")


def bare(metric: str, x: float) -> str:
    """A metric's value without its unit: "78.9", "0.412"."""
    return percent(x) if metric_of(metric).percent else number(x)


def amount(metric: str, x: float) -> str:
    """A metric's value with its unit: "78.9 %", "0.412"."""
    return f"{bare(metric, x)} %" if metric_of(metric).percent else number(x)


def gap(metric: str, x: float) -> str:
    """A difference of a metric with its sign, in points where it is read in %, without the word."""
    return points(x) if metric_of(metric).percent else number(x, sign=True)


def size(metric: str, x: float) -> str:
    """How large a difference is: "2.2 points UA", "0.031 NLL"."""
    row = metric_of(metric)
    return f"{100 * x:.1f} points {row.heading}" if row.percent else f"{x:.3f} {row.heading}"


def params(setting: Mapping[str, object]) -> str:
    """A setting on one line, by name: "batch=64 gamma=0.5"; "(no searched parameter)" if empty."""
    if not setting:
        return "(no searched parameter)"
    return clean(" ".join(f"{name}={value(setting[name])}" for name in sorted(setting)))


def value(x: object) -> str:
    """One parameter's value: floats with four significant digits, booleans as YAML has them."""
    if isinstance(x, bool):
        return str(x).lower()
    return f"{x:.4g}" if isinstance(x, float) else str(x)


def duration(seconds: float) -> str:
    """A duration in at most two units: "0.4 s", "42 s", "3 min 5 s", "2 h 10 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def clean(text: str) -> str:
    """`text` on one line and without control characters: reasons come from anybody's exceptions."""
    return " ".join(_CONTROL.sub("", text.replace("\n", " ").replace("\t", " ")).split())


def listed(names: str | Iterable[object]) -> str:
    """ "a", or "a, b"."""
    return names if isinstance(names, str) else ", ".join(str(x) for x in names)


def many(n: int, what: str) -> str:
    """ "1 fold", "2 folds"."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


_GRAVE = {
    "synthetic": "synthetic speech",
    "simulated": "simulated votes",
    "untrained": "untrained weights",
    "labels are planted": "planted wrong labels",
    "reach training": "test labels in training",
    "on two sides": "speakers or clips on two sides of the division",
    "nobody can check": "unknown speakers",
}


def grave(warning: str) -> str:
    """What a warning is about that must stand wherever the figures stand; "" for any other."""
    return next((short for word, short in _GRAVE.items() if word in warning), "")


def graves(warnings: Iterable[str]) -> str:
    """What all warnings are about that must stand wherever the figures stand: "a, b", or ""."""
    return listed(dict.fromkeys(kind for line in warnings if (kind := grave(line))))
