"""The busy share of the cores while a study searches, on real trainings.

    python tests/benchmarks/busy.py
    python tests/benchmarks/busy.py --emodb DIR --trials 12 --racing mixed

CPU seconds of the command and all its processes (Ray's too) over cores x seconds. Once over the
whole search, from the moment it begins to the end of its last trial, with Tune's and the workers'
start; once from a tenth to nine tenths of that time. On a machine that others use, cores taken by
them are no idle cores of ours: beside the share of all cores stands the share of what the machine
had left, own seconds / (own + idle seconds), from /proc/stat. That one has the goal.
"""

from __future__ import annotations

import common


def share(samples: list[common.Sample]) -> tuple[float, float]:
    """Percent of all cores, and of what others left."""
    first, last = samples[0], samples[-1]
    own, left = last.cpu - first.cpu, last.idle - first.idle
    return 100 * own / (common.CORES * (last.at - first.at)), 100 * own / (own + left)


def main() -> None:
    parser = common.parser(__doc__)
    common.corpus_options(parser)
    parser.set_defaults(width=0.5)
    parser.add_argument("--trials", type=int, default=8, help="values of gamma")
    parser.add_argument("--racing", default="off", choices=("off", "mixed", "wilcoxon"))
    args = parser.parse_args()
    figures = common.Figures("busy")
    with common.workplace(args.keep) as folder:
        words = common.corpus_words(folder, args.emodb)
        common.gamma_sweep(folder, args.trials, width=args.width, epochs=args.epochs)
        given = ["space=sweep.yaml", f"racing={args.racing}", *words]
        common.features([*given, f"home={folder / 'home'}"], folder)
        run = common.tune(folder, "home", *given, every=0.25)
        folds, begun, ended = run.facts()
        whole = [s for s in run.samples if begun <= s.at <= ended]
        edge = 0.1 * (ended - begun)
        steady = [s for s in whole if begun + edge <= s.at <= ended - edge]
        figures.add("fold-runs", folds)
        figures.add("search", ended - begun, "s")
        figures.add("whole search: of all cores", share(whole)[0], "%")
        figures.add("whole search: of what others left", share(whole)[1], "%")
        figures.add("its middle eight tenths: of all cores", share(steady)[0], "%")
        figures.add("its middle eight tenths: of what others left", share(steady)[1], "%", least=95)
        figures.close(args.json)


if __name__ == "__main__":
    main()
