"""How cost grows with the number of trials: 10, 100 and 1000 trials x 10 folds of no-op stages.

    python tests/benchmarks/growth.py
    python tests/benchmarks/growth.py --trials 10000 --mlflow

Prints for each size the seconds of the whole command, the driver's memory and that of a
coordinator (the process that steps a trial through its folds) early and late in the search, and
the time in which Optuna's TPE suggests a setting with so many trials behind it, and how long the
command goes on after its last trial (the report and, with `--mlflow`, what is still to be
written). Own memory is what a process shares with no other (USS), from /proc.
"""

from __future__ import annotations

import statistics
import time

import common


def suggestion(trials: int) -> float:
    """Milliseconds of one suggestion of TPE after so many complete trials (median of 5)."""
    from raysearch.search.sampler import Sampler
    from raysearch.study.ledger import COMPLETE, TrialRow
    from raysearch.study.space import Space

    space, problems = Space.parse(
        {
            "strategy": {"choice": ["hard", "ls", "lr"]},
            "gamma": {"float": [0.2, 0.8], "when": {"strategy": "lr"}},
            "lambda_rd": {"float": [0.001, 1.0], "log": True},
            "batch": {"grid": [16, 32, 64]},
            "lr": {"float": [1e-5, 1e-2], "log": True},
        }
    )
    assert not problems
    drawn = Sampler(space, kind="random", seed=1)
    rows = []
    for number in range(trials):
        asked = drawn.ask(number)
        assert asked is not None
        value = 0.5 + 0.1 * (number * 7919 % 101) / 101
        rows.append(TrialRow(number, asked[0], COMPLETE, value=value))
    sampler = Sampler(space, kind="tpe", seed=0)
    sampler.rebuild(rows)
    took = []
    for number in range(trials, trials + 5):
        began = time.perf_counter()
        sampler.ask(number)
        took.append(time.perf_counter() - began)
    return 1000 * statistics.median(took)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--racing", default="off", choices=("off", "mixed", "wilcoxon"))
    parser.add_argument("--sampler", default="tpe", choices=("tpe", "random"))
    parser.add_argument("--mlflow", action="store_true", help="write to MLflow too")
    args = parser.parse_args()
    figures = common.Figures("growth")
    with common.workplace(args.keep) as folder:
        common.write_space(
            folder / "toy.yaml",
            {
                "method": "toy_method:METHOD",
                "corpus": {"name": "demo"},
                "params": {"shrink": {"float": [0, 1]}},
                "sampler": args.sampler,
                "racing": args.racing,
                "tracking": {"enabled": args.mlflow},
            },
        )
        common.tune(folder, "home", "space=toy.yaml", "trials=1", "seed=999")
        for trials in args.trials:
            run = common.tune(
                folder,
                "home",
                "space=toy.yaml",
                f"trials={trials}",
                f"seed={trials}",
                every=1.0,
                sizes=True,
            )
            over = time.time()
            folds, begun, ended = run.facts()
            big = trials >= 1000
            name = f"{trials} trials:"
            figures.add(f"{name} fold-runs", folds)
            figures.add(f"{name} whole command", run.seconds, "s", most=300 if big else None)
            figures.add(f"{name} after the last trial", over - ended, "s", most=60 if big else None)
            figures.add(f"{name} CPU time a fold", 1000 * run.cpu / folds, "ms")
            figures.add(f"{name} a fold of the search", 1000 * (ended - begun) / folds, "ms")
            inside = [s for s in run.samples if begun <= s.at <= ended]
            quarter = max(1, len(inside) // 4)
            for part, some in (
                ("early", inside[quarter : 2 * quarter]),
                ("late", inside[-quarter:]),
            ):
                if not some:
                    continue
                figures.add(
                    f"{name} driver, {part} (RSS)",
                    statistics.median(s.driver[0] for s in some),
                    "MiB",
                )
                coordinators = [size for s in some for size in s.coordinators]
                if coordinators:
                    figures.add(
                        f"{name} coordinator, {part} (RSS)",
                        statistics.median(size[0] for size in coordinators),
                        "MiB",
                    )
                    figures.add(
                        f"{name} coordinator's own, {part} (USS, largest)",
                        max(size[1] for size in coordinators),
                        "MiB",
                        most=120,
                    )
            figures.add(f"{name} a suggestion of TPE", suggestion(trials), "ms")
    figures.close(args.json)


if __name__ == "__main__":
    main()
