"""What a repeat costs: the finished study again, and a new home on the same store.

    python tests/benchmarks/warm.py

No-op stages on the demo's speech. The repeat starts no Ray. The new home knows nothing of the
study and finds every stage stored: it runs none, but scores and records all folds.
"""

from __future__ import annotations

import common
from overhead import SPACE


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--trials", type=int, default=60)
    args = parser.parse_args()
    figures = common.Figures("warm")
    with common.workplace(args.keep) as folder:
        # stages that take a while, or there would be nothing to save
        params = {**SPACE["params"], "delay": 0.05}  # type: ignore[dict-item]
        common.write_space(folder / "toy.yaml", {**SPACE, "params": params, "deterministic": True})
        store = f"store={folder / 'store'}"
        words = ["space=toy.yaml", f"trials={args.trials}", store]
        common.tune(folder, "first", "space=toy.yaml", "trials=1", "seed=999", store)
        fresh = common.tune(folder, "first", *words)
        again = common.tune(folder, "first", *words)
        common.tune(folder, "second", "space=toy.yaml", "trials=1", "seed=999", store)
        moved = common.tune(folder, "second", *words)
    figures.add("fold-runs", args.trials * 10)
    figures.add("first time", fresh.seconds, "s")
    figures.add("the finished study again", again.seconds, "s")
    figures.add("the finished study again, ratio", fresh.seconds / again.seconds, "times")
    figures.add("a new home on the same store", moved.seconds, "s")
    figures.add("a new home on the same store, ratio", fresh.seconds / moved.seconds, "times")
    ran = [line for line in moved.out.splitlines() if "stages computed" in line]
    print(f"a new home says: {ran[0] if ran else '(nothing)'}")
    figures.close(args.json)


if __name__ == "__main__":
    main()
