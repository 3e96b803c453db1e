"""Test UA and core seconds in fp32 and in bf16: the same trainings, from the same seeds.

    python tests/benchmarks/precisions.py --corpus emodb DIR normalise=speaker
    python tests/benchmarks/precisions.py --corpus ravdess DIR --folds 24

RDLR's student (hard labels, with relative difficulty and reconstruction) on the first folds of a
corpus, in this process on one thread. A seed's score is its mean over the folds; the differences
bf16 - fp32 are paired by seed, and stand beside the spread that another seed alone makes.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import common

PRECISIONS = ("fp32", "bf16")


def seed_of(
    words: list[str], folder: Path, folds: int, cores: dict[str, float]
) -> dict[str, float]:
    """Mean test UA of one seed by precision, in %; adds the CPU seconds to `cores`."""
    from raysearch.data.features import local_chunks
    from raysearch.stages import Runtime, calls, execute
    from trainables.metrics import unweighted_accuracy

    inputs = common.inputs_of(words, folder)
    data = inputs.dataset(run_chunks=local_chunks)
    where, answers = inputs.context(data), inputs.answers()
    scores: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    for fold in range(min(folds, len(data.folds))):
        for name in PRECISIONS:
            setting: dict[str, Any] = {"strategy": "hard", "batch": 32, "lr": 5e-4}
            setting |= {"lambda_rd": 0.1, "lambda_ae": 0.01, "precision": name}
            call = calls(inputs.method, inputs.method.resolve(setting), fold, where)[-1]
            began = time.process_time()
            artifact = execute(call, data, [], Runtime())
            cores[name] += time.process_time() - began
            one = answers[fold]
            test = slice(one.selected, one.selected + one.test)
            guess = artifact.arrays["test"][test].argmax(axis=1)
            ua = unweighted_accuracy(one.unseen[test], guess, len(data.classes))
            scores[name].append(100 * ua)
    return {name: statistics.mean(each) for name, each in scores.items()}


def main() -> None:
    from scipy import stats

    parser = common.parser(__doc__)
    parser.add_argument("--corpus", nargs=2, required=True, metavar=("NAME", "DIR"))
    parser.add_argument("--seeds", type=int, default=5, help="2 or more")
    parser.add_argument("--folds", type=int, default=10, help="the first ones")
    parser.add_argument("words", nargs="*", help="further words of tune")
    args = parser.parse_args()
    name, root = args.corpus
    figures = common.Figures("precisions")
    cores = dict.fromkeys(PRECISIONS, 0.0)
    seeds = []
    with common.workplace(args.keep) as folder:
        words = ["space=rdlr", f"home={folder / 'home'}", *args.words]
        words += [f"corpus={name}", f"corpus.root={Path(root).absolute()}"]
        for seed in range(args.seeds):
            seeds.append(seed_of([*words, f"seed={seed}"], folder, args.folds, cores))
            for precision, ua in seeds[-1].items():
                figures.add(f"{name}, seed {seed}: test UA, {precision}", ua, "%")
    whole, half = ([one[precision] for one in seeds] for precision in PRECISIONS)
    apart = [b - a for a, b in zip(whole, half, strict=True)]
    width = stats.t.ppf(0.975, len(apart) - 1) * statistics.stdev(apart) / len(apart) ** 0.5
    figures.add(f"{name}: spread over seeds, fp32 (sd)", statistics.stdev(whole), "points")
    figures.add(f"{name}: bf16 - fp32, paired by seed", statistics.mean(apart), "points")
    figures.add(f"{name}: half of its 95 % interval", float(width), "points")
    figures.add(f"{name}: CPU seconds, fp32 to bf16", cores["fp32"] / cores["bf16"], "times")
    figures.close(args.json)


if __name__ == "__main__":
    main()
