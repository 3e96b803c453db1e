"""Where the time of one training goes: data, forward, backward, optimiser, scoring.

    python tests/benchmarks/step.py
    python tests/benchmarks/step.py --emodb DIR --precision fp32 bf16 --batch 32 64

One stage of RDLR (its student, hard labels, with relative difficulty and reconstruction) on one
fold, in this process on one thread, as a search runs it. The parts are timed by a clock around
the loop's own functions, in CPU seconds, each without what it calls of the others; `rest` is the
network's making, the last predictions and whatever is in none of them.
"""

from __future__ import annotations

import functools
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import common

PARTS = ("data", "forward", "backward", "optimiser", "scoring", "rest")


class Clock:
    """Seconds by part; a part that is entered inside another stops that one's clock."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.steps = 0
        self._open = ["rest"]
        self._since = time.process_time()

    def _turn(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def around(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._turn()
            self._open.append(part)
            self.steps += part == "optimiser"
            try:
                return call(*args, **kwargs)
            finally:
                self._turn()
                self._open.pop()

        return timed

    def stop(self) -> None:
        self._turn()


@contextmanager
def clocked() -> Iterator[Clock]:
    """A clock on the loop's functions while the block runs."""
    import torch

    from trainables import optimisation, rows

    clock = Clock()
    places = [
        (optimisation._Run, "_steps", "data"),
        (rows.Dense, "take", "data"),
        (optimisation._Run, "_backward", "forward"),
        (torch.Tensor, "backward", "backward"),
        (optimisation._Run, "_update", "optimiser"),
        (optimisation._Run, "_one_epoch", "scoring"),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for owner, name, part in places:
        setattr(owner, name, clock.around(part, getattr(owner, name)))
    try:
        yield clock
    finally:
        clock.stop()
        for owner, name, plain in before:
            setattr(owner, name, plain)


def stage(inputs: Any, setting: dict[str, Any]) -> tuple[Any, Any]:
    """The study's data, and the stage that a setting of it asks for on its first fold."""
    from raysearch.data.features import local_chunks
    from raysearch.stages import calls

    dataset = inputs.dataset(run_chunks=local_chunks)
    full = inputs.method.resolve(setting)
    return dataset, calls(inputs.method, full, 0, inputs.context(dataset))[-1]


def main() -> None:
    parser = common.parser(__doc__)
    common.corpus_options(parser)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--repeats", type=int, default=3, help="of each training; the fastest")
    args = parser.parse_args()
    figures = common.Figures("step")
    with common.workplace(args.keep) as folder:
        common.write_space(
            folder / "space.yaml",
            {"method": "rdlr", "params": {"width": args.width}, "tracking": {"enabled": False}},
        )
        words = ["space=space.yaml", f"home={folder / 'home'}"]
        words += common.corpus_words(folder, args.emodb)
        inputs = common.features(words, folder)
        for batch in args.batch:
            whole = {}
            for precision in args.precision:
                whole[precision] = profile(figures, inputs, batch, precision, args)
            if {"fp32", "bf16"} <= whole.keys():
                ratio = whole["fp32"] / whole["bf16"]
                figures.add(f"batch {batch}: a step, fp32 to bf16", ratio, "times")
    figures.close(args.json)


def profile(figures: Any, inputs: Any, batch: int, precision: str, args: Any) -> float:
    """Print the shares of one training; returns its milliseconds a step."""
    from raysearch.stages import Runtime
    from raysearch.stages.running import execute

    setting = {"strategy": "hard", "batch": batch, "lr": 5e-4, "epochs": args.epochs}
    setting |= {"lambda_rd": 0.1, "lambda_ae": 0.01, "width": args.width}
    if precision != "fp32":
        setting["precision"] = precision
    dataset, call = stage(inputs, setting)
    clocks = []
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(args.repeats):
        with clocked() as clock:
            execute(call, dataset, [], Runtime())
        clocks.append(clock)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    clock = min(clocks, key=lambda one: sum(one.seconds.values()))
    total, name = sum(clock.seconds.values()), f"batch {batch}, {precision}:"
    figures.add(f"{name} the stage", total, "s")
    figures.add(f"{name} all of it, by its {clock.steps} steps", 1e3 * total / clock.steps, "ms")
    for part, seconds in clock.seconds.items():
        figures.add(f"{name} {part}", 100 * seconds / total, "%")
    figures.add(f"{name} page faults a step", faults / sum(one.steps for one in clocks))
    return 1e3 * total / clock.steps


if __name__ == "__main__":
    main()
