"""How cost grows with the corpus: `plan` of 1,000, 10,000 and 100,000 clips of 100 speakers.

    python tests/benchmarks/corpus_growth.py
    python tests/benchmarks/corpus_growth.py --rows 10000 --profile

Clips are 0.12 s of noise and features are generated vectors, read through features=files:. Each
figure is a command in a process of its own: the first `plan` reads all audio, the second finds it
in the home's index, and is what the corpus's size costs beyond reading. CPU seconds are that
process's own, so that other work on the machine weighs less in them than in the seconds that
passed. `--study` also runs a study of no-op stages, one setting, and the same command again.
"""

from __future__ import annotations

import csv
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import common
import numpy as np

RATE, SAMPLES, DIMS = 8000, 960, 16
SENTENCES = 500
"""that speakers share, as in corpora of acted speech"""


def write_corpus(root: Path, rows: int, speakers: int) -> None:
    """Clips that all differ, `manifest.csv`, and `vectors.npz` beside them."""
    rng = np.random.default_rng(0)
    for speaker in range(speakers):
        (root / f"s{speaker:03d}").mkdir(parents=True)
    head = b"RIFF" + struct.pack("<I", 36 + 2 * SAMPLES) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    head += b"data" + struct.pack("<I", 2 * SAMPLES)
    names, labels = [], rng.permutation(np.arange(rows) % len(common.CLASSES))
    with (root / "manifest.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["file", "label", "speaker", "transcript"])
        for row in range(rows):
            who = row % speakers
            names.append(f"s{who:03d}/{row:06d}")
            noise = rng.integers(-3000, 3000, SAMPLES, dtype=np.int16)
            (root / f"{names[-1]}.wav").write_bytes(head + noise.tobytes())
            text = f"sentence number {rng.integers(SENTENCES)}"
            out.writerow([f"{names[-1]}.wav", common.CLASSES[labels[row]], f"s{who:03d}", text])
    vectors = rng.normal(size=(rows, DIMS)).astype(np.float32)
    np.savez(root.parent / "vectors.npz", names=np.array(names), vectors=vectors)


def command(words: list[str], folder: Path, *python: str) -> tuple[float, float, float, str]:
    """Run the command; (seconds, its CPU seconds, the MiB it held at most, what it printed)."""
    paths = [str(common.ROOT / "tests" / "support"), str(common.ROOT)]
    began = time.monotonic()
    with (folder / "out").open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, *python, "-m", "raysearch", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    text = (folder / "out").read_text()
    if running.returncode:
        raise SystemExit(f"raysearch {' '.join(words)} failed:\n{text[-2000:]}")
    took = time.monotonic() - began
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text


def profiled(words: list[str], folder: Path) -> None:
    """Print where the time of the command goes, by the functions that hold it."""
    import pstats

    command(words, folder, "-m", "cProfile", "-o", "profile")
    stats = pstats.Stats(str(folder / "profile"))
    stats.sort_stats("cumulative").print_stats(r"raysearch|trainables", 45)
    stats.sort_stats("tottime").print_stats(25)


def study(figures: common.Figures, name: str, words: list[str], folder: Path) -> None:
    """One setting of no-op stages over all folds, and the finished study again."""
    common.write_space(
        folder / "toy.yaml",
        {
            "method": "toy_method:METHOD",
            "params": {"shrink": {"float": [0, 1]}},
            "sampler": "random",
            "racing": "off",
            "tracking": {"enabled": False},
        },
    )
    words = ["tune", "space=toy.yaml", "trials=1", *words[2:]]
    for what, most in (("a study of one setting", None), ("the finished study again", 20)):
        took, cpu, held, _ = command(words, folder)
        goal = most if name.startswith("100000 ") else None
        figures.add(f"{name} {what}", took, "s", most=goal)
        figures.add(f"{name} {what}, the driver's CPU", cpu, "s")
        figures.add(f"{name} {what}, the driver's memory", held, "MiB")


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--speakers", type=int, default=100)
    parser.add_argument("--profile", action="store_true", help="where the second plan's time goes")
    parser.add_argument("--study", action="store_true", help="run a study, and run it again")
    args = parser.parse_args()
    figures = common.Figures("corpus_growth")
    for rows in args.rows:
        with common.workplace(args.keep) as folder:
            write_corpus(folder / "clips", rows, args.speakers)
            words = [
                "plan",
                "space=rdlr",
                "corpus=manifest",
                f"corpus.root={folder / 'clips'}",
                f"features=files:{folder / 'vectors.npz'}",
                f"home={folder / 'home'}",
            ]
            name = f"{rows} clips x {args.speakers} speakers:"
            first, first_cpu, _, _ = command(words, folder)
            figures.add(f"{name} the first plan", first, "s")
            took, cpu, held, text = command(words, folder)
            least = next(line for line in text.splitlines() if "distinct" in line)
            figures.add(f"{name} plan again", took, "s")
            most = 15 if rows == 100_000 and args.speakers == 100 else None
            figures.add(f"{name} plan again, CPU", cpu, "s", most=most)
            figures.add(f"{name} plan again, memory", held, "MiB")
            if first_cpu - cpu > 0.2 * cpu:  # else reading is lost in what two runs differ by
                speed = rows / (first_cpu - cpu)
                figures.add(f"{name} audio checked a CPU second", speed, "clips", least=1000)
            print(f"{name} {' '.join(least.split())}")
            if args.profile:
                profiled(words, folder)
            if args.study:
                study(figures, name, words, folder)
    figures.close(args.json)


if __name__ == "__main__":
    main()
