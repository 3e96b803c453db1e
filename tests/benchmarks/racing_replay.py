"""Judge the racing rules by replaying stored full tables of scores.

    python tests/benchmarks/racing_replay.py --table emodb.csv --repeats 200
    python tests/benchmarks/racing_replay.py --simulate 10 --repeats 200

A table is a CSV file in long form, one row a fold of a setting: setting, fold, val_ua, val_wa,
test_ua, test_wa (fractions), every setting with every fold. Each repeat shuffles the settings and
the folds; then the settings arrive one after the other, `--concurrent` at once, and each advances
by one fold a wave, all in the same order of folds. What is printed for each rule:

    saved    share of the fold-runs of the full search that were not run
    within   share of repeats in which the chosen setting's full validation mean is within 0.5
             points of the full search's best, with the standard error of that share
    lost     how far it is below on average, in points
    seconds  a repeat's time, decisions included

The chosen setting is the complete one with the highest mean; SMAC's is its incumbent. Beside
raysearch's rules: Optuna's WilcoxonPruner through Optuna's own study, in the same simulation, and
SMAC3's intensifier, which decides for itself what runs next (folds are its instances,
deterministic, `--concurrent` runs in flight). SMAC is no dependency of raysearch. Either
`pip install smac`, or keep it apart and say where:

    python -m venv /tmp/smac && /tmp/smac/bin/pip install smac
    python tests/benchmarks/racing_replay.py --table emodb.csv --smac /tmp/smac/bin/python
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

COLUMNS = ("val_ua", "val_wa", "test_ua", "test_wa")
NEAR = 0.005
OWN = ("mixed", "wilcoxon", "off")
OTHERS = ("optuna", "smac")

Replay = Callable[[np.ndarray, int, int], tuple[int, int]]
"""(full [C, K] in order of arrival, concurrent, seed) -> (fold-runs, chosen row)"""


@dataclass(frozen=True)
class Result:
    """What a rule did over all repeats."""

    rule: str
    saved: float
    within: float
    error: float
    """standard error of `within`"""
    lost: float
    """points"""
    seconds: float


# -- stored tables ------------------------------------------------------------------------------


def write_table(
    path: Path,
    settings: Sequence[str],
    folds: Sequence[str],
    scores: Mapping[str, np.ndarray],
) -> None:
    """Store a full table. `scores`: column -> [C, K] fractions, for every one of COLUMNS."""
    aside = path.with_name(path.name + ".part")
    with aside.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["setting", "fold", *COLUMNS])
        for c, setting in enumerate(settings):
            for f, fold in enumerate(folds):
                out.writerow([setting, fold, *(f"{scores[name][c, f]:.6f}" for name in COLUMNS)])
    os.replace(aside, path)


def read_table(path: Path, column: str = "val_ua") -> tuple[np.ndarray, list[str], list[str]]:
    """One column of a stored table: [C, K], the settings' and the folds' names."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    folds = list(dict.fromkeys(row["fold"] for row in rows))
    table = np.full((len(settings), len(folds)), np.nan)
    row_of = {name: i for i, name in enumerate(settings)}
    column_of = {name: i for i, name in enumerate(folds)}
    for row in rows:
        table[row_of[row["setting"]], column_of[row["fold"]]] = float(row[column])
    if not len(rows) or not np.isfinite(table).all():
        raise SystemExit(
            f"{path}: every setting needs a finite {column} for every fold, but "
            f"{int(np.isnan(table).sum())} of {table.size} cells have none"
        )
    return table, settings, folds


def simulated(rng: np.random.Generator, folds: int, settings: int = 40) -> np.ndarray:
    """A made-up table [C, K] with the variances seen in speech emotion studies."""
    speaker, residual, spread = (rng.uniform(a, b) for a, b in ((7, 10), (5, 7), (1, 2)))
    points = (
        65
        + rng.normal(0, speaker, folds)
        + rng.normal(0, spread, (settings, 1))
        + rng.normal(0, residual, (settings, folds))
    )
    return points / 100


# -- the rules ----------------------------------------------------------------------------------

Judge = Callable[[np.ndarray, int, np.ndarray], bool]
"""(table so far, row, which rows are complete or running) -> stop this row"""


def race(
    full: np.ndarray, concurrent: int, judge: Judge, complete: Callable[[int], None]
) -> tuple[int, int]:
    """Simulate one race: (fold-runs, the complete row with the highest mean)."""
    settings, folds = full.shape
    table = np.full_like(full, np.nan)
    done = np.zeros(settings, dtype=int)
    alive = np.ones(settings, dtype=bool)
    running: list[int] = []
    started = 0
    while running or started < settings:
        while len(running) < concurrent and started < settings:
            running.append(started)
            started += 1
        for row in list(running):
            table[row, done[row]] = full[row, done[row]]
            done[row] += 1
            # the rule hears of the last fold too: some learn from it
            stop = judge(table[:started], row, alive[:started])
            if done[row] == folds:
                complete(row)
                running.remove(row)
            elif stop:
                alive[row] = False
                running.remove(row)
    chosen = int(np.argmax(np.where(done == folds, full.mean(axis=1), -np.inf)))
    return int(done.sum()), chosen


def own(name: str, gain: float | None = None) -> Replay:
    """One of raysearch's rules, or `off`. `gain`: of `mixed`, where not its own."""
    from raysearch.search.racing import RULES, Mixed

    rule = Mixed(gain) if name == "mixed" and gain else RULES.get(name)

    def replay(full: np.ndarray, concurrent: int, seed: int) -> tuple[int, int]:
        def judge(table: np.ndarray, row: int, alive: np.ndarray) -> bool:
            return rule is not None and rule(table, row, trials=len(full), alive=alive).stop

        return race(full, concurrent, judge, lambda row: None)

    return replay


def less(d: np.ndarray) -> float:
    """`scipy.stats.wilcoxon(d, alternative="less", zero_method="zsplit").pvalue`, sooner.

    Of at most 13 differences with ties scipy's test calls Python for each of 2^n sign patterns,
    which is nearly all the time of a replay of Optuna's pruner; here the patterns are one product.
    """
    from scipy import stats

    whole = stats.rankdata(np.abs(d))
    if len(d) > 13 or (len(np.unique(whole)) == len(d) and (d != 0).all()):
        return float(stats.wilcoxon(d, alternative="less", zero_method="zsplit").pvalue)
    patterns = (np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1
    ranks = np.where(d == 0, 0.0, whole)
    # tolerant of the last digit, as scipy's test is
    return float((patterns @ ranks <= ranks[d > 0].sum() * (1 + 1e-14)).mean())


def optuna_wilcoxon(full: np.ndarray, concurrent: int, seed: int) -> tuple[int, int]:
    """Optuna's WilcoxonPruner with its defaults, asked through a study of Optuna's."""
    import optuna
    from optuna.pruners import _wilcoxon

    # its own p values, sooner: see `less`
    _wilcoxon.ss = SimpleNamespace(  # type: ignore[assignment]
        wilcoxon=lambda d, **_: SimpleNamespace(pvalue=less(np.asarray(d)))
    )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=seed),
            pruner=optuna.pruners.WilcoxonPruner(p_threshold=0.1),
        )
        trials: dict[int, Any] = {}

        def judge(table: np.ndarray, row: int, alive: np.ndarray) -> bool:
            fold = int(np.isfinite(table[row]).sum()) - 1
            if row not in trials:
                trials[row] = study.ask()
            trial = trials[row]
            trial.report(float(table[row, fold]), fold)
            stop = fold < full.shape[1] - 1 and trial.should_prune()
            if stop:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return stop

        def complete(row: int) -> None:
            study.tell(trials[row], float(full[row].mean()))

        return race(full, concurrent, judge, complete)


def smac_intensifier(full: np.ndarray, concurrent: int, seed: int) -> tuple[int, int]:
    """SMAC3's intensifier (algorithm configuration), with the settings in order of arrival.

    Done by hand is only what SMAC's `SMBO.ask` and `tell` do; the surrogate model that would
    propose settings is replaced by the list of them.
    """
    from ConfigSpace import Configuration, ConfigurationSpace
    from smac import AlgorithmConfigurationFacade, Scenario
    from smac.runhistory import RunHistory, StatusType

    logging.disable(logging.ERROR)
    settings, folds = full.shape
    space = ConfigurationSpace({"setting": [str(c) for c in range(settings)]})
    names = [str(f) for f in range(folds)]
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(
            space,
            output_directory=Path(folder),
            deterministic=True,
            instances=names,
            instance_features={name: [i] for i, name in enumerate(names)},
            n_trials=settings * folds,
            seed=seed,
        )
        intensifier = AlgorithmConfigurationFacade.get_intensifier(scenario, max_config_calls=folds)
    history = RunHistory()
    intensifier.runhistory = history
    intensifier.config_selector = [
        Configuration(space, values={"setting": str(c)}) for c in range(settings)
    ]
    runs, flying, asked = 0, [], iter(intensifier)
    while True:
        while len(flying) < concurrent and (info := next(asked, None)) is not None:
            history.add_running_trial(info)
            flying.append(info)
        if not flying:
            break
        info = flying.pop(0)
        history.add(
            config=info.config,
            cost=1.0 - float(full[int(info.config["setting"]), int(info.instance)]),
            time=1.0,
            status=StatusType.SUCCESS,
            instance=info.instance,
            seed=info.seed,
            force_update=True,
        )
        intensifier.update_incumbents(info.config)
        runs += 1
    best = intensifier.get_incumbents()[0]
    return runs, int(best["setting"])


# -- the command --------------------------------------------------------------------------------


def measure(
    name: str,
    replay: Replay,
    tables: Callable[[np.random.Generator], np.ndarray],
    *,
    repeats: int,
    concurrent: int,
    seed: int,
) -> Result:
    """Replay a rule. The same seed gives every rule the same orders (and simulated tables)."""
    saved, lost = np.zeros(repeats), np.zeros(repeats)
    began = time.perf_counter()
    for i in range(repeats):
        rng = np.random.default_rng([seed, i])
        full = tables(rng)
        full = full[rng.permutation(len(full))][:, rng.permutation(full.shape[1])]
        runs, chosen = replay(full, concurrent, i)
        means = full.mean(axis=1)
        saved[i] = 1.0 - runs / full.size
        lost[i] = means.max() - means[chosen]
    within = float((lost <= NEAR + 1e-12).mean())
    return Result(
        rule=name,
        saved=float(saved.mean()),
        within=within,
        error=float(np.sqrt(within * (1.0 - within) / repeats)),
        lost=100 * float(lost.mean()),
        seconds=(time.perf_counter() - began) / repeats,
    )


def _elsewhere(python: str, words: Sequence[str]) -> Result | str:
    """SMAC's row from another interpreter, or why there is none."""
    command = [python, str(Path(__file__).resolve()), *words, "--rules", "smac", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return Result(**json.loads(done.stdout.strip().splitlines()[-1])["results"][0])
    except (IndexError, KeyError, TypeError, ValueError):
        return f"{python} gave no result: {(done.stderr or done.stdout).strip()[-300:]}"


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--table", type=Path, help="a stored full table (CSV)")
    source.add_argument("--simulate", type=int, metavar="K", help="made-up tables of K speakers")
    parser.add_argument("--objective", choices=("ua", "wa"), default="ua")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--concurrent", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rules", nargs="+", choices=OWN + OTHERS, default=[*OWN[:2], *OTHERS])
    parser.add_argument("--gain", type=float, help="option `gain` of the mixed rule")
    parser.add_argument("--smac", metavar="PYTHON", help="an interpreter that has SMAC")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    args = parser.parse_args(words)

    if args.table:
        full, _, _ = read_table(args.table, f"val_{args.objective}")
        shape, source_name = full.shape, str(args.table)

        def tables(rng: np.random.Generator) -> np.ndarray:
            return full
    else:
        shape, source_name = (40, args.simulate), "simulated"

        def tables(rng: np.random.Generator) -> np.ndarray:
            return simulated(rng, args.simulate)

    results: list[Result] = []
    missing: list[str] = []
    for name in args.rules:
        if name == "smac" and args.smac:
            given = ["--table", str(args.table)] if args.table else ["--simulate", str(shape[1])]
            for option in ("objective", "repeats", "concurrent", "seed"):
                given += [f"--{option}", str(getattr(args, option))]
            found = _elsewhere(args.smac, given)
            if isinstance(found, str):
                missing.append(f"smac: skipped, {found}")
            else:
                results.append(found)
            continue
        others: dict[str, Replay] = {"optuna": optuna_wilcoxon, "smac": smac_intensifier}
        replay = others[name] if name in others else own(name, args.gain)
        try:
            results.append(
                measure(
                    name,
                    replay,
                    tables,
                    repeats=args.repeats,
                    concurrent=args.concurrent,
                    seed=args.seed,
                )
            )
        except ModuleNotFoundError as error:
            missing.append(f"{name}: skipped, {error} (--help says how to install it)")
    if args.json:
        print(json.dumps({"results": [asdict(r) for r in results], "missing": missing}))
        return 0
    print(
        f"{source_name}: {shape[0]} settings x {shape[1]} folds, {args.repeats} orders, "
        f"{args.concurrent} at once, seed {args.seed}"
    )
    print(f"{'rule':<10}{'saved':>8}{'within 0.5':>16}{'lost':>8}{'seconds':>10}")
    for r in results:
        share = f"{100 * r.within:.1f} ± {100 * r.error:.1f} %"
        print(f"{r.rule:<10}{100 * r.saved:>6.1f} %{share:>16}{r.lost:>8.2f}{r.seconds:>10.3f}")
    for line in missing:
        print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
