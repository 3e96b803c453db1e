"""What the benchmarks share: a corpus, the command under a watch, and one form of output.

Each benchmark runs `python -m raysearch tune` as a person would, in a folder of its own that is
removed in the end, and prints its figures as lines of name, value, unit and, where there is one,
the goal. All figures of a ratio are made in one run of the benchmark.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

CLASSES = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "bored")
SPEAKERS, CLIPS = 10, 48
"""of the made-up corpus: as many as EmoDB has of speakers, and nearly of clips"""
TICK = os.sysconf("SC_CLK_TCK")
COORDINATORS = ("ray::_FoldStepper", "ray::ResourceTrainable")
"""what the processes that step trials call themselves, between steps and in them"""
CORES = os.cpu_count() or 1


# -- output -------------------------------------------------------------------------------------
@dataclass
class Figures:
    """The figures of one run of one benchmark."""

    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def add(
        self,
        name: str,
        value: float,
        unit: str = "",
        *,
        most: float | None = None,
        least: float | None = None,
    ) -> None:
        """One figure; with a goal, whether it is met. It is shown at once, as runs are long."""
        row: dict[str, Any] = {"name": name, "value": value, "unit": unit}
        words = ""
        if most is not None or least is not None:
            met = (most is None or value <= most) and (least is None or value >= least)
            goal = f"<= {most:g}" if most is not None else f">= {least:g}"
            row |= {"goal": goal, "met": met}
            words = f"   goal {goal}: {'met' if met else 'missed'}"
        self.rows.append(row)
        digits = 0 if abs(value) >= 1000 or value == int(value) else 1 if abs(value) >= 10 else 2
        print(f"{name:<58}{value:>10.{digits}f} {unit:<6}{words}".rstrip(), flush=True)

    def close(self, as_json: bool) -> None:
        """Say what machine it was; other work on it shows in its load."""
        facts = {"cores": CORES, "load_before": self.load, "load_after": os.getloadavg()[0]}
        print(
            f"{self.title}: {CORES} cores, load average {facts['load_before']:.1f} before and "
            f"{facts['load_after']:.1f} after"
        )
        if as_json:
            print(json.dumps({"title": self.title, **facts, "figures": self.rows}))


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Options that every benchmark has."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", action="store_true", help="the figures once more, as JSON")
    made.add_argument("--keep", action="store_true", help="leave the folder with homes and logs")
    return made


def corpus_options(made: argparse.ArgumentParser) -> None:
    """Options of the benchmarks that train."""
    made.add_argument("--emodb", type=Path, metavar="DIR", help="EmoDB instead of made-up arrays")
    made.add_argument("--width", type=float, default=1.0, help="of the hidden layers (1: paper)")
    made.add_argument("--epochs", type=int, default=100, help="at most, of every training")


# -- the corpus ---------------------------------------------------------------------------------
@contextmanager
def workplace(keep: bool = False) -> Iterator[Path]:
    """A folder for homes, spaces and clips."""
    folder = Path(tempfile.mkdtemp(prefix="raysearch-bench-"))
    try:
        yield folder
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def corpus_words(folder: Path, emodb: Path | None) -> list[str]:
    """The words that choose EmoDB, or the made-up corpus of its size (written where absent)."""
    if emodb is not None:
        return ["corpus=emodb", f"corpus.root={emodb.absolute()}"]
    root = folder / "clips"
    if not root.exists():
        _write_clips(root)
    return ["corpus=manifest", f"corpus.root={root}"]


def _write_clips(root: Path) -> None:
    """Clips of noise, so that they have names, digests, speakers and labels; see `features`."""
    import soundfile

    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (root / "manifest.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["file", "label", "speaker"])
        for speaker in range(SPEAKERS):
            for clip in range(CLIPS):
                name = f"s{speaker}_{clip:02d}.wav"
                noise = rng.normal(0, 0.1, 8000).astype(np.float32)
                soundfile.write(root / name, noise, 16000, subtype="PCM_16")
                out.writerow([name, CLASSES[clip % len(CLASSES)], f"s{speaker}"])


def inputs_of(words: Sequence[str], folder: Path) -> Any:
    """The study that these words of `tune` make, gathered."""
    from raysearch.study import load_study
    from raysearch.tuning.prepare import prepare

    return prepare(load_study(list(words), cwd=folder))


def features(words: Sequence[str], folder: Path) -> Any:
    """Put the features where the study finds them; returns the inputs.

    The made-up corpus gets arrays of IS10's size in which classes overlap and speakers differ;
    EmoDB's are extracted.
    """
    from raysearch.data.features import known, local_chunks
    from raysearch.data.features.blocks import Shelf

    inputs = inputs_of(words, folder)
    if inputs.study.corpus.name == ("emodb",) or "corpus=emodb" in words:
        inputs.dataset(run_chunks=local_chunks)
        return inputs
    table = inputs.corpus.table
    info = known()["is10"]
    rng = np.random.default_rng(0)
    y = inputs.corpus.codes
    who = np.unique(table["speaker"].to_numpy(dtype=str), return_inverse=True)[1]
    means = rng.normal(0, 0.16, (len(CLASSES), info.dims))
    voices = rng.normal(0, 0.8, (SPEAKERS, info.dims))
    x = means[y] + voices[who] + rng.normal(0, 1.0, (len(y), info.dims))
    shelf = Shelf(inputs.feature_folder, "is10", info.version())
    shelf.put(tuple(table["audio"]), x.astype(np.float32), info.names())
    return inputs


# -- memory and CPU time, from /proc ------------------------------------------------------------
def memory(pid: int) -> tuple[float, float] | None:
    """(resident, unique) MiB of a process: its RSS and its USS; None where it is gone."""
    sizes: dict[str, int] = {}
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if rest.endswith(" kB"):
                sizes[name] = int(rest.split()[0])
    except OSError:
        return None
    if "Rss" not in sizes:
        return None
    return sizes["Rss"] / 1024, (sizes["Private_Clean"] + sizes["Private_Dirty"]) / 1024


def processes() -> dict[int, tuple[int, float]]:
    """pid -> (parent, CPU seconds so far) of every process that can be seen."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            rest = text.rpartition(")")[2].split()
            found[int(entry)] = (int(rest[1]), (int(rest[11]) + int(rest[12])) / TICK)
    return found


def title(pid: int) -> str:
    """How a process calls itself; Ray's workers say what they run."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def idle() -> float:
    """Seconds that the machine's cores have been idle, all together."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()
    return (int(words[4]) + int(words[5])) / TICK


@dataclass(frozen=True)
class Sample:
    """What a command and all its descendants had used at one moment."""

    at: float
    """epoch seconds"""
    cpu: float
    """seconds so far, those of ended processes included (but for their last moments)"""
    idle: float
    """of the machine's cores, so far"""
    driver: tuple[float, float] = (0.0, 0.0)
    """(RSS, USS) MiB"""
    coordinators: tuple[tuple[float, float], ...] = ()
    """(RSS, USS) MiB of each process that steps a trial through its folds"""


class Watch:
    """Samples a command's tree of processes until it is told to stop."""

    def __init__(self, pid: int, every: float, sizes: bool) -> None:
        self._pid, self._every, self._sizes = pid, every, sizes
        self._cpu: dict[int, float] = {}
        self._tree = {pid}
        self.samples: list[Sample] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._look()

    def _look(self) -> None:
        seen = processes()
        grown = True
        while grown:  # Ray's daemons may lose their parent: once in the tree, always in it
            children = {p for p, (parent, _) in seen.items() if parent in self._tree} - self._tree
            self._tree |= children
            grown = bool(children)
        for pid in self._tree & seen.keys():
            self._cpu[pid] = seen[pid][1]
        driver, coordinators = (0.0, 0.0), []
        if self._sizes:
            driver = memory(self._pid) or driver
            for pid in self._tree & seen.keys():
                if any(name in title(pid) for name in COORDINATORS):
                    size = memory(pid)
                    coordinators += [size] if size else []
        self.samples.append(
            Sample(time.time(), sum(self._cpu.values()), idle(), driver, tuple(coordinators))
        )


# -- the command --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Run:
    """One `raysearch tune` that ended."""

    seconds: float
    samples: tuple[Sample, ...]
    folder: Path
    """of the study"""
    out: str

    @property
    def cpu(self) -> float:
        """CPU seconds of the command and all its processes, as far as it was sampled."""
        return self.samples[-1].cpu if self.samples else float("nan")

    def facts(self) -> tuple[int, float, float]:
        """(fold-runs, start of the first trial, end of the last) from the ledger."""
        with closing(sqlite3.connect(self.folder / "ledger.sqlite")) as db:
            (folds,) = db.execute("select count(*) from folds").fetchone()
            begun, ended = db.execute("select min(started), max(ended) from trials").fetchone()
        return folds, begun, ended

    def stages(self) -> int:
        """How many different stages the study used."""
        with closing(sqlite3.connect(self.folder / "ledger.sqlite")) as db:
            rows = db.execute("select stages from folds").fetchall()
        return len({use[1] for (text,) in rows for use in json.loads(text)})


def tune(
    folder: Path, home: str, *words: str, every: float = 0.0, sizes: bool = False, limit: int = 3600
) -> Run:
    """Run `raysearch tune` in `folder` and wait for it.

    Args:
        folder: holds the space files that `words` name.
        home: name of the home under `folder`.
        words: further words of the command.
        every: seconds between samples of its processes; 0 for none.
        sizes: sample memory too.
        limit: seconds after which it is given up.

    Raises:
        SystemExit: it failed; with the end of what it said.
    """
    where = folder / home
    before = set((where / "studies").glob("*")) if where.exists() else set()
    paths = [str(ROOT / "tests" / "support"), str(ROOT)]
    with (folder / f"{home}.err").open("wb") as err, (folder / f"{home}.out").open("wb") as out:
        began = time.monotonic()
        running = subprocess.Popen(
            [sys.executable, "-m", "raysearch", "tune", f"home={where}", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=out,
            stderr=err,
        )
        watch = Watch(running.pid, every, sizes) if every else None
        try:
            code = running.wait(timeout=limit)
        except BaseException:
            running.terminate()
            running.wait()
            raise
        finally:
            if watch is not None:
                watch.stop()
        seconds = time.monotonic() - began
    if code != 0:
        said = (folder / f"{home}.err").read_text()[-2000:]
        raise SystemExit(f"raysearch {' '.join(words)} ended with {code}:\n{said}")
    after = sorted((where / "studies").glob("*"), key=lambda path: path.stat().st_mtime)
    fresh = [path for path in after if path not in before] or after
    samples = tuple(watch.samples) if watch is not None else ()
    return Run(seconds, samples, fresh[-1], (folder / f"{home}.out").read_text())


def write_space(path: Path, space: Mapping[str, Any]) -> None:
    """Write a space file."""
    import yaml

    path.write_text(yaml.safe_dump(dict(space), sort_keys=False))


def gamma_sweep(
    folder: Path, trials: int, *, width: float, epochs: int, share: bool = True
) -> list[dict[str, Any]]:
    """Write `sweep.yaml` (or `apart.yaml`): RDLR over values of gamma; returns its settings.

    Where `share` is false each setting also moves the teacher's step size by a millionth. That
    trains the same teacher for the same time, but under a key of its own: nothing is shared.
    """
    settings = []
    for i in range(trials):
        setting: dict[str, Any] = {"gamma": round(0.2 + 0.6 * i / max(1, trials - 1), 4)}
        if not share:
            setting["pretrained_lr"] = 5e-4 * (1.0 + 1e-6 * i)
        settings.append(setting)
    fixed: dict[str, Any] = {
        "strategy": "lr",
        "batch": 64,
        "lr": 5e-4,
        "lambda_rd": 0.1,
        "width": width,
        "epochs": epochs,
        "pretrained_width": width,
        "pretrained_epochs": epochs,
    }
    if share:
        fixed["pretrained_lr"] = 5e-4
    searched = {name: {"grid": [s[name] for s in settings]} for name in settings[0]}
    write_space(
        folder / ("sweep.yaml" if share else "apart.yaml"),
        {
            "method": "rdlr",
            "params": {**searched, **fixed},
            "sampler": "listed",
            "enqueue": settings,
            "trials": trials,
            "tracking": {"enabled": False},
        },
    )
    return [{**fixed, **setting} for setting in settings]
