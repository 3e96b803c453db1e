"""What a study would run, without running it: settings, folds, stages, and what is stored."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from raysearch.cluster.capacity import check_here
from raysearch.data import features
from raysearch.stages import calls
from raysearch.stages.store import Store
from raysearch.study import Study
from raysearch.study.folder import StudyFolder, store_of
from raysearch.study.ledger import RUNNING, TrialRow
from raysearch.study.wording import duration
from raysearch.tuning.baseline_check import check_baseline
from raysearch.tuning.prepare import StudyInputs, inner_inputs, prepare, runtime_of

_LOOKED_AT = 200
"""settings whose stages are counted one by one; more are estimated from these"""


@dataclass(frozen=True)
class Plan:
    """What a study would run. Stage counts are by stage name."""

    study: str
    headline: str
    notes: tuple[str, ...]
    trials: int
    """that the study shall have in all"""
    done: int
    """of those, ended already"""
    new: int
    """settings that would be run; fewer where the space has no more"""
    folds: tuple[str, ...]
    seeds: int
    stages: Counter[str]
    """distinct stages of these settings"""
    stored: Counter[str]
    """of those, stored already"""
    sampled: bool
    """whether the counts are scaled up from the first settings"""
    seconds: float | None
    """core seconds of computing; None where no stage of this study of the kind is stored"""
    cores: int
    features: tuple[str, ...] = ()
    """a sentence for each large feature set: what it takes on the disk"""
    outer: tuple[int, ...] = ()
    """by outer search, the folds that each of its settings has"""

    def text(self) -> str:
        """The plan as lines for a person."""
        rest = self.stages.total() - self.stored.total()
        about = "about " if self.sampled else ""
        lines = [
            f"study {self.study}",
            f"  {self.headline}",
            *(f"  note: {note}" for note in self.notes),
            *(f"  features  {sentence}" for sentence in self.features),
            f"  settings  {self.trials} wanted, {self.done} done, {self.new} to run",
            f"  folds     {len(self.folds)} a setting ({_few(self.folds)})"
            + (f", each with {self.seeds} seeds" if self.seeds > 1 else ""),
            f"  stages    {about}{self.stages.total()} distinct, {self.stored.total()} stored, "
            f"{about}{rest} to compute",
        ]
        lines += [
            f"            {name}: {count} ({self.stored[name]} stored)"
            for name, count in self.stages.items()
        ]
        if self.outer:
            more = sum(self.outer) / len(self.folds)
            lines.append(
                f"  outer     {len(self.outer)} searches more, of {max(self.outer)} folds a "
                f"setting: at most {more:.3g} times these stages"
            )
        if not rest:
            but = " but outer searches" if self.outer else ""
            lines.append(f"  time      nothing to compute{but}")
        elif self.seconds is None:
            lines.append("  time      unknown: not every kind of stage of this study has run yet")
        else:
            wall = duration(self.seconds / self.cores)
            alone = ", outer searches not counted" if self.outer else ""
            lines.append(f"  time      about {wall} on {self.cores} cores{alone}")
        return "\n".join(lines)


def plan(study: Study) -> Plan:
    """Count what `tune` would run; nothing is written but what a corpus itself keeps.

    Raises:
        BadInput: what `tune` would refuse too.
    """
    if study.cluster == "local":
        check_here(runtime_of(study))
    store = Store(store_of(study))
    store.check(writing=False)
    inputs = prepare(study)
    inner = inner_inputs(inputs) if study.search.outer else ()
    check_baseline(inputs)
    StudyFolder.of(study).check_fingerprint(study, inputs.fingerprint)
    rows = _ledger_rows(study)
    ended = [row for row in rows if row.state != RUNNING]
    settings = list(_settings(inputs, rows))
    looked_at = settings[:_LOOKED_AT]
    scale = len(settings) / max(1, len(looked_at))
    context, constants = inputs.context(), inputs.space.constants()
    names: dict[str, str] = {}
    for setting in looked_at:
        full = inputs.method.resolve({**constants, **setting})
        for fold, repeat in product(range(len(inputs.folds)), range(study.seeds)):
            graph = calls(inputs.method, full, fold, context, repeat)
            names |= {call.key: call.name for call in graph}
    there = store.stored(names)
    stages = Counter(names.values())
    stored = Counter(names[key] for key in there)
    missing = stages - stored
    times = _seconds_by_stage(store, names, there)
    seconds: float | None = None
    if all(name in times for name in missing):
        seconds = scale * sum(count * times[name] for name, count in missing.items())
    if scale > 1:
        stages = Counter({name: round(count * scale) for name, count in stages.items()})
    return Plan(
        study=study.id,
        headline=(
            f"{study.method} on {'+'.join(study.corpus.name)}: "
            f"{int((inputs.corpus.table['label'] != '').sum())} utterances, "
            f"{inputs.outputs_in_words}, "
            f"protocol {study.protocol.name}"
        ),
        notes=inputs.notes,
        trials=inputs.sampler().planned(study.trials),
        done=len(ended),
        new=len(settings),
        folds=tuple(fold.name for fold in inputs.folds),
        seeds=study.seeds,
        stages=stages,
        stored=stored,
        sampled=scale > 1,
        seconds=seconds,
        cores=os.cpu_count() or 1,
        features=features.sizes(study.features, inputs.corpus, inputs.feature_folder),
        outer=tuple(len(each.folds) for each in inner),
    )


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f", … {names[-1]}" if len(names) > 4 else "")


def _ledger_rows(study: Study) -> list[TrialRow]:
    folder = StudyFolder.of(study)
    if not folder.exists:
        return []
    with folder.ledger() as ledger:
        return ledger.trials()


def _settings(inputs: StudyInputs, rows: list[TrialRow]) -> Iterator[Mapping[str, object]]:
    """The settings to be run: those left running, then what the sampler would ask.

    A sampler that learns asks other settings once it has scores; their stages are as many.
    """
    study = inputs.study
    sampler = inputs.sampler()
    sampler.rebuild(rows)
    yield from (dict(row.params) for row in rows if row.state == RUNNING)
    for number in range(len(rows), study.trials):
        proposal = sampler.ask(number)
        if proposal is None:
            return
        yield proposal[0]


def _seconds_by_stage(store: Store, names: dict[str, str], there: set[str]) -> dict[str, float]:
    """Mean seconds of stored stages, by stage name; the first hundred of each are enough."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for key in sorted(there):
        if len(seconds[names[key]]) < 100:
            provenance = store.provenance(key)
            if provenance is not None:
                seconds[names[key]].append(provenance.seconds)
    return {name: sum(times) / len(times) for name, times in seconds.items() if times}
