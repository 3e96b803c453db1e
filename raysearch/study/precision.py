"""The key `precision`: it pins the method's parameter of that name, and `auto` measures first."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from contextlib import suppress
from pathlib import Path

from raysearch.data.section import Tree
from raysearch.stages.atomic import write_whole
from raysearch.study.schema import Study
from raysearch.study.tree import put, value_at
from trainables.stage import Method

NAME = "precision"
FILE = "calibration.json"
"""under the home: what was measured here, so that the same command is the same study again"""
GAIN = 1.1
"""times that a step must be faster"""


def settle_precision(tree: Tree, study: Study | None, method: Method, problems: list[str]) -> None:
    """Put `precision` into the parameters; the study then has none of its own.

    A parameter whose default is asked for stays away: it is the same study without the word.
    """
    if study is None or study.precision is None or problems:
        return
    value, place = str(study.precision), f"params.{NAME}"
    del tree[NAME]
    if NAME not in method.params:
        problems.append(
            f"precision={value} has no effect: method={method.name} has no parameter {NAME}; "
            "leave it out"
        )
        return
    if value == "auto":
        value, why = _fastest(tree, method)
        put(tree, "notes", [*(tree.get("notes") or []), f"precision=auto: {value}, {why}"])
    pinned = value_at(tree, place)
    if pinned not in (None, value):
        problems.append(
            f"precision={value} and {place}={pinned} (a word, or the space's) differ; give {place} "
            "alone"
        )
    elif value != method.params[NAME].default:
        put(tree, place, value)


def _fastest(tree: Tree, method: Method) -> tuple[str, str]:
    """fp32 or bf16, and why."""
    if method.calibrate is None:
        return "fp32", f"as method={method.name} has no step that could be measured beforehand"
    if tree.get("gpus"):
        return "fp32", "as it measures this processor, and stages run on GPUs; write precision=bf16"
    if "avx512_bf16" not in _processor():
        return "fp32", "as this processor has no avx512_bf16"
    steps = _steps(Path(str(tree.get("home", "runs"))) / FILE, method)
    faster = steps["fp32"] >= GAIN * steps["bf16"]
    words = f"{steps['bf16']:.1f} ms a step on this machine, {steps['fp32']:.1f} in fp32"
    return ("bf16", words) if faster else ("fp32", f"as bf16 is not faster: {words}")


def _processor() -> str:
    """What Linux knows of the processor; '' elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _steps(file: Path, method: Method) -> dict[str, float]:
    """Milliseconds of a training step by precision: measured once a home, machine and torch."""
    assert method.calibrate is not None
    what = f"{method.name} on {platform.node()}, torch {importlib.metadata.version('torch')}"
    known: dict[str, dict[str, float]] = {}
    with suppress(OSError, ValueError):
        known = json.loads(file.read_text(encoding="utf-8"))
    if what not in known:
        known[what] = dict(method.calibrate())
        with suppress(OSError):  # then it is measured again next time
            write_whole(file, json.dumps(known, indent=1))
    return known[what]
