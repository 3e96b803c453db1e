"""What the service costs beside the training: a study of stages that do next to nothing.

    python tests/benchmarks/overhead.py

Prints, from one run: milliseconds a fold (the difference between a longer and a shorter search, so
that starting Ray and Tune is left out), seconds of start and end, and seconds of repeating the
finished study.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPACE = """\
method: toy_method:METHOD
corpus: {name: demo}
params: {shrink: {float: [0, 1]}}
sampler: random
tracking: {enabled: false}
"""
FOLDS = 10


def tune(folder: Path, trials: int) -> float:
    """Seconds of one command."""
    paths = [str(ROOT / "tests" / "support"), str(ROOT)]
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "raysearch", "tune", "space=toy.yaml", f"trials={trials}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=True,
        capture_output=True,
    )
    return time.monotonic() - began


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="raysearch-bench-") as name:
        folder = Path(name)
        (folder / "toy.yaml").write_text(SPACE)
        first = tune(folder, 1)
        short = tune(folder, 21)
        long = tune(folder, 121)
        again = tune(folder, 121)
    each = (long - short) / (80 * FOLDS)
    print(f"cores                              {os.cpu_count()}")
    print(f"first command, speech and features {first:8.1f} s")
    print(f"20 trials x {FOLDS} folds               {short:8.1f} s")
    print(f"100 trials x {FOLDS} folds              {long:8.1f} s")
    print(f"a fold of no-op stages             {1000 * each:8.1f} ms")
    print(f"start and end of a search          {short - 20 * FOLDS * each:8.1f} s")
    print(f"repeat of the finished study       {again:8.1f} s")


if __name__ == "__main__":
    main()
