"""How long early stopping should wait: test UA by `patience_steps`, on the same folds and seeds.

    python tests/benchmarks/patience.py emodb=DIR ravdess=DIR --seeds 10

Each corpus is a search of `rdlr` over a grid of one parameter with hard labels, every setting on
every fold and seed. A line a value: mean test UA in %, its paired difference to 0 with a 95 % t
interval over the held-out speakers, the share of trainings whose best epoch was the first, and the
epochs that a fold trained (what the floor costs). Test scores are read here to judge a default,
not to choose a setting.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import common
import numpy as np

from raysearch.selection import interval
from raysearch.study.ledger import FoldRow, Ledger


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("corpora", nargs="+", metavar="CORPUS=ROOT")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 60, 120, 240])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--homes", type=Path, help="a folder that stays: the same command goes on")
    parser.add_argument("--words", nargs="*", default=[], help="further words of the command")
    args = parser.parse_args()
    with _folder(args) as folder:
        for number, entry in enumerate(args.corpora):
            name, _, root = entry.partition("=")
            common.write_space(folder / "patience.yaml", _space(args))
            home = f"{number}-{name}"
            common.tune(folder, home, *_search(name, root, args), limit=24 * 3600)
            (study,) = (folder / home / "studies").iterdir()
            _print(name, study, args)


@contextmanager
def _folder(args: argparse.Namespace) -> Iterator[Path]:
    if args.homes is None:
        with common.workplace(args.keep) as folder:
            yield folder
    else:
        args.homes.mkdir(parents=True, exist_ok=True)
        yield args.homes.absolute()


def _space(args: argparse.Namespace) -> dict[str, Any]:
    params = {"strategy": "hard", "width": args.width, "patience_steps": {"grid": args.steps}}
    search = {"sampler": "grid", "trials": len(args.steps)}
    return {"method": "rdlr", "features": "egemaps", "params": params, **search}


def _search(name: str, root: str, args: argparse.Namespace) -> list[str]:
    return [
        "space=patience.yaml",
        f"corpus={name}",
        f"corpus.root={Path(root).resolve()}",
        f"seeds={args.seeds}",
        "tracking.enabled=false",
        *args.words,
    ]


def _print(name: str, study: Path, args: argparse.Namespace) -> None:
    ledger = Ledger(study / "ledger.sqlite")
    setting = {trial.number: trial.params["patience_steps"] for trial in ledger.trials()}
    rows: dict[object, list[FoldRow]] = defaultdict(list)
    for row in ledger.folds():
        rows[setting[row.trial]].append(row)
    ledger.close()
    base = _ua(rows[args.steps[0]])
    print(f"{name}: {len(base)} folds x {args.seeds} seeds, width {args.width}")
    for steps in args.steps:
        runs = [run for row in rows[steps] for run in row.repeats or [row.scores]]
        ua = _ua(rows[steps])
        mean, low, high, _ = interval(100 * (ua - base))
        paired = "" if low is None else f"{mean:+5.1f} ({low:+.1f} to {high:+.1f})"
        first = np.mean([run["best_epoch"] == 1 for run in runs])
        epochs = np.mean([run["best_epoch"] for run in runs])
        print(
            f"  patience_steps={steps:<5} test UA {100 * ua.mean():5.1f}  {paired:24}"
            f"  best at the first epoch {first:5.1%}  best epoch {epochs:5.1f}"
        )
    sys.stdout.flush()


def _ua(rows: list[FoldRow]) -> np.ndarray:
    return np.array([row.scores["test_ua"] for row in sorted(rows, key=lambda row: row.index)])


if __name__ == "__main__":
    main()
