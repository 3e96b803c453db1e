"""A study's full table of scores as CSV, for `racing_replay.py`.

    python tests/benchmarks/table_of.py runs/studies/NAME > table.csv

One row a fold of a setting: setting, fold, val_ua, val_wa, test_ua, test_wa (fractions). Complete
trials alone; a study that raced has few of them, so make tables with racing=off.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from racing_replay import COLUMNS

from raysearch.study.ledger import COMPLETE, Ledger


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="the study's folder, HOME/studies/NAME")
    ledger = Ledger(parser.parse_args().study / "ledger.sqlite")
    complete = {trial.number for trial in ledger.trials() if trial.state == COMPLETE}
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["setting", "fold", *COLUMNS])
    for row in ledger.folds():
        if row.trial in complete:
            scores = [f"{row.scores[name]:.5f}" for name in COLUMNS]
            writer.writerow([row.trial, row.fold.rpartition("/")[2], *scores])
    ledger.close()


if __name__ == "__main__":
    main()
