"""Stages run with and without sharing, on a sweep over gamma.

    python tests/benchmarks/sharing.py
    python tests/benchmarks/sharing.py --emodb DIR --trials 20

RDLR's teacher knows nothing of gamma, so a sweep trains it once a fold. Without sharing: the same
settings, but each moves the teacher's step size by a millionth, which trains the same teacher for
the same time under a key of its own. Stages are counted and seconds measured in both.
"""

from __future__ import annotations

import common


def main() -> None:
    parser = common.parser(__doc__)
    common.corpus_options(parser)
    parser.set_defaults(width=0.25, epochs=40)
    parser.add_argument("--trials", type=int, default=6, help="values of gamma")
    args = parser.parse_args()
    figures = common.Figures("sharing")
    with common.workplace(args.keep) as folder:
        words = common.corpus_words(folder, args.emodb)
        runs = {}
        for name, share in (("sweep", True), ("apart", False)):
            common.gamma_sweep(
                folder, args.trials, width=args.width, epochs=args.epochs, share=share
            )
            given = [f"space={name}.yaml", *words]
            common.features([*given, f"home={folder / name}"], folder)
            runs[name] = common.tune(folder, name, *given)
        shared, apart = runs["sweep"], runs["apart"]
        folds, begun, ended = shared.facts()
        _, begun_apart, ended_apart = apart.facts()
        figures.add("settings x folds", folds)
        figures.add("stages run with sharing", shared.stages())
        figures.add("stages run without", apart.stages())
        figures.add("stages, ratio", apart.stages() / shared.stages(), "times")
        figures.add("whole command with sharing", shared.seconds, "s")
        figures.add("whole command without", apart.seconds, "s")
        figures.add("search with sharing (first trial's start to last's end)", ended - begun, "s")
        figures.add("search without", ended_apart - begun_apart, "s")
        figures.add("search, ratio", (ended_apart - begun_apart) / (ended - begun), "times")
        figures.close(args.json)


if __name__ == "__main__":
    main()
