"""What the service costs beside the training: studies of stages that do next to nothing.

    python tests/benchmarks/overhead.py

Random sampling on the demo's speech, two stages a fold. Milliseconds a fold and a trial come from
differences between searches of several lengths, so that starting and ending Ray and Tune is left
out: a longer search less a shorter one, of 10 folds a trial and of 3. `mixed` runs one fold a wave
and stops most trials early, so that a fold there bears more of the trials' own cost.
"""

from __future__ import annotations

import common

SPACE = {
    "method": "toy_method:METHOD",
    "corpus": {"name": "demo"},
    "params": {"shrink": {"float": [0, 1]}},
    "sampler": "random",
    "tracking": {"enabled": False},
}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--trials", type=int, default=120, help="of the longer searches")
    parser.add_argument("--short", type=int, default=20, help="of the shorter ones")
    args = parser.parse_args()
    figures = common.Figures("overhead")
    with common.workplace(args.keep) as folder:
        common.write_space(folder / "toy.yaml", SPACE)
        first = common.tune(folder, "home", "space=toy.yaml", "trials=1")
        figures.add("first command, speech and features", first.seconds, "s")

        used: list[int] = []

        def cost(*words: str) -> tuple[float, int, float, float]:
            """(seconds, fold-runs, CPU seconds) that the longer one has more; the shorter's s."""
            found = []
            for trials in (args.short, args.trials):
                # a seed of its own: nothing that another search has stored
                seed = 1000 * len(used) + trials
                used.append(seed)
                given = ["space=toy.yaml", f"trials={trials}", f"seed={seed}", *words]
                run = common.tune(folder, "home", *given, every=0.25)
                found.append((run.seconds, run.facts()[0], run.cpu))
            (short, few, little), (long, many, much) = found
            return long - short, many - few, much - little, short

        trials = args.trials - args.short
        ten, folds_ten, busy_ten, start = cost("racing=off")
        three, folds_three, _, _ = cost("racing=off", "protocol=kfold", "protocol.folds=3")
        a_fold = (ten - three) / (folds_ten - folds_three)
        a_trial = (ten - folds_ten * a_fold) / trials
        raced, folds_raced, busy_raced, _ = cost("racing=mixed")
        figures.add("racing=off: a fold, its trial's cost included", 1000 * ten / folds_ten, "ms")
        figures.add("racing=off: CPU time a fold", 1000 * busy_ten / folds_ten, "ms")
        figures.add("racing=off: a fold of its own", 1000 * a_fold, "ms")
        figures.add("racing=off: a trial of its own", 1000 * a_trial, "ms")
        figures.add(
            "racing=off: start and end of a search", start - args.short * 10 * ten / folds_ten, "s"
        )
        figures.add("racing=mixed: fold-runs a trial", folds_raced / trials)
        figures.add(
            "racing=mixed: a fold, its trial's cost included", 1000 * raced / folds_raced, "ms"
        )
        figures.add(
            "racing=mixed, one fold a wave: a fold beside its trial's cost",
            1000 * (raced - trials * max(0.0, a_trial)) / folds_raced,
            "ms",
            most=15,
        )
        figures.add("racing=mixed: CPU time a fold", 1000 * busy_raced / folds_raced, "ms")
    figures.close(args.json)


if __name__ == "__main__":
    main()
