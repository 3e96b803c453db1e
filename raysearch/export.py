"""From a study to a model: the selected setting, trained on every speaker or taken from its folds.

A refit trains the setting's stages once more on all labelled clips, without validation, each for
the median best epoch of its folds. An ensemble is the mean of the folds' own networks, which are
trained again under their keys and seeds, as artifacts of a study keep no weights. Either way the
stages' artifacts are kept in the store, so that the same export is made once.

What is made is tried in a process that has the model alone, before it is put anywhere.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import raysearch
from raysearch.config import Study, load_study
from raysearch.errors import BadInput, RaysearchError
from raysearch.features import known
from raysearch.features.base import Unusable
from raysearch.features.extract import local_chunks
from raysearch.features.models import models_of, relocated
from raysearch.folds import Fold
from raysearch.ledger import COMPLETE, FoldRow, Ledger, TrialRow
from raysearch.lookup import options, study_folder
from raysearch.material import Material, gather
from raysearch.model import FACTS, FORMAT, STATISTICS, digest_of
from raysearch.registry import method as find_method
from raysearch.registry import methods
from raysearch.report import Report, build, to_plain
from raysearch.report.write import params as written
from raysearch.shipping import modules_of, stage_code
from raysearch.stages import (
    Call,
    Dataset,
    Use,
    calls,
    execute,
    source_digest,
    statistics,
)
from raysearch.store import Damaged, Provenance, Store, encode
from raysearch.study import runtime_of, store_of
from trainables.stage import WEIGHTS, Artifact, Exporter, Method

__all__ = ["Exported", "export", "export_words"]

Say = Callable[[str], None]
How = Literal["refit", "ensemble"]
HOWS = ("refit", "ensemble")
EVERYONE = "every speaker"
_CLIPS = 5
"""clips of a new speaker that a model asks for, where its study measured no number of them"""


@dataclass(frozen=True)
class Exported:
    """A model that has been made."""

    place: str
    """URI or folder, as `predict model=` takes it"""
    facts: Mapping[str, Any]
    """model.json"""
    lines: tuple[str, ...]
    """what a person must know"""


def export_words(words: Sequence[str], say: Say) -> str:
    """The command: export a study's model, and say what it is."""
    given = options(
        words,
        {
            "study": None,
            "home": "runs",
            "how": "refit",
            "setting": "selected",
            "name": None,
            "alias": "champion",
            "to": None,
        },
    )
    if given["how"] not in HOWS:
        raise BadInput(f"how={given['how']} is unknown; it is one of {', '.join(HOWS)}")
    made = export(
        study_folder(Path(str(given["home"])), given["study"] and str(given["study"])),
        how=given["how"],
        setting=given["setting"],
        name=given["name"] and str(given["name"]),
        alias=str(given["alias"]),
        to=Path(str(given["to"])) if given["to"] else None,
        say=say,
    )
    return "\n".join(made.lines)


def export(
    folder: Path,
    *,
    how: How = "refit",
    setting: str | int = "selected",
    name: str | None = None,
    alias: str = "champion",
    to: Path | None = None,
    say: Say = lambda text: None,
) -> Exported:
    """Make a model of a study, and register it in MLflow, or write it into a folder.

    Args:
        folder: the study's.
        how: "refit" on all speakers, or the "ensemble" of the folds' networks.
        setting: "selected", or the number of a complete trial.
        name: of the registered model; None is the study's.
        alias: that the new version gets.
        to: a folder that does not exist yet: the model is written there and registered nowhere.
        say: told what is being done.

    Raises:
        BadInput: the study, the setting or the method cannot be exported.
    """
    if to is not None and (name is not None or to.exists()):
        raise BadInput(
            f"to={to} exists already; name a new folder"
            if to.exists()
            else "to= writes a folder and registers nothing, so it takes no name="
        )
    if to is None:
        from raysearch import registering

        registering.check_names(name or folder.name, alias)
    say("reading the study")
    source = _source(folder, setting)
    if to is None:  # before minutes of training
        run = registering.run_of(source.study, source.instance)
    say("reading features")
    data = source.material.dataset(run_chunks=local_chunks)
    members = _refit(source, data, say) if how == "refit" else _ensemble(source, data, say)
    with tempfile.TemporaryDirectory(prefix="raysearch-model-") as scratch:
        place = Path(scratch, "data")
        place.mkdir()
        facts = _write(place, source, data, how, members)
        code = Path(scratch, "code")
        code.mkdir()
        stage_code(code, modules_of(source.study), without=[Path(source.study.home)])
        shutil.rmtree(code / "spaces")
        example = _example(int(facts["speaker_clips"]))
        say("trying the model in a process that has nothing else")
        tried = _tried(place, code, example)
        package = _package(place, code, facts, example, tried)
        if to is not None:
            from raysearch import registering

            registering.save(package, to, Path(source.study.home))
            where = str(to)
        else:
            say("registering")
            where = registering.register(package, name or folder.name, alias, source.study, run)
    return Exported(where, facts, tuple(_lines(where, facts, source)))


# -- what is exported ------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Source:
    """A study and one of its settings."""

    study: Study
    material: Material
    method: Method
    exporter: Exporter
    report: Report
    trial: TrialRow
    rows: tuple[FoldRow, ...]
    """of the trial, by fold index"""
    instance: str
    unfinished: str
    """why the selection may still change, or ''"""

    @property
    def setting(self) -> dict[str, Any]:
        """Every parameter of the method."""
        return self.method.resolve({**self.material.space.constants(), **self.trial.params})

    @property
    def store(self) -> Store:
        return Store(store_of(self.study))

    def stages(self, row: FoldRow) -> list[list[tuple[str, str]]]:
        """By training of a fold, (name, key) of its stages, the scored one last."""
        each = len(row.stages) // self.study.seeds
        pairs = [(use.name, use.key) for use in row.stages]
        return [pairs[i : i + each] for i in range(0, len(pairs), each)]


def _source(folder: Path, setting: str | int) -> _Source:
    report = build(folder)
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        trials = {trial.number: trial for trial in ledger.trials()}
        number = _number(report, trials, setting)
        rows = tuple(sorted(ledger.folds(number), key=lambda row: row.index))
        fingerprint = ledger.fact("fingerprint")
        instance = str(ledger.fact("instance"))
    finally:
        ledger.close()
    home = folder.parent.parent
    study = load_study(
        [f"space={folder / 'study.yaml'}", f"home={home}", "quiet=true"], cwd=Path.cwd()
    )
    method = find_method(study.method)
    if method.export is None:
        raise BadInput(
            f"the method {study.method} cannot be exported: it does not say how it predicts new "
            f"clips (Method.export); those that do: {', '.join(_exportable()) or 'none'}"
        )
    material = gather(study)
    if fingerprint != material.fingerprint:
        raise BadInput(
            f"study {folder.name} was run on other data: the corpus at "
            f"{dict(study.corpus.root) or 'its root'} has changed since; bring the old one back"
        )
    ended = sum(report.states.values()) - report.states["running"]
    wanted = study.trials if study.sampler != "listed" else min(study.trials, ended)
    unfinished = ""
    if setting == "selected" and ended < wanted and study.sampler != "grid":
        unfinished = (
            f"{ended} of {wanted} trials had ended when this was exported: the selected setting "
            "may still change"
        )
    return _Source(
        study, material, method, method.export, report, trials[number], rows, instance, unfinished
    )


def _number(report: Report, trials: Mapping[int, TrialRow], setting: str | int) -> int:
    """The number of the trial that is asked for."""
    if report.best_trial is None:
        states = ", ".join(f"{n} {state}" for state, n in report.states.items() if n) or "none run"
        raise BadInput(
            f"study {report.study} has no complete trial to export (trials: {states}); "
            "run it on with the same tune command"
        )
    if setting == "selected":
        return report.best_trial
    complete = [n for n, trial in trials.items() if trial.state == COMPLETE]
    if isinstance(setting, bool) or not isinstance(setting, int) or setting not in complete:
        state = trials[setting].state if setting in trials else "not there"  # type: ignore[index]
        some = ", ".join(map(str, complete[:20])) + (" …" if len(complete) > 20 else "")
        raise BadInput(
            f"setting={setting} must be selected or the number of a complete trial ({some}), but "
            f"that is {state}"
        )
    return setting


def _exportable() -> list[str]:
    found = []
    for name in methods():
        try:
            if find_method(name).export is not None:
                found.append(name)
        except BadInput:  # a third party's that cannot be imported
            continue
    return found


# -- networks --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Member:
    """One network of a model."""

    fold: str
    key: str
    artifact: Artifact
    """of the last stage, with weights"""
    params: Mapping[str, Any]
    statistics: Mapping[str, NDArray[np.float64]]
    """under normalise=fold, those of its training part"""
    epochs: Mapping[str, int]
    """by stage that counts epochs, how many it was trained for (or the best one)"""
    notes: tuple[str, ...] = ()


def _refit(source: _Source, data: Dataset, say: Say) -> list[_Member]:
    nothing = np.empty(0, dtype=np.int64)
    votes = data.votes
    voted = np.zeros(len(data.y), dtype=bool) if votes is None else votes.sum(axis=1) > 0
    fold = Fold(
        name=EVERYONE,
        index=0,
        train=np.flatnonzero(data.y >= 0),
        validation=nothing,
        test=nothing,
        unlabelled=np.flatnonzero((data.y < 0) & ~voted),
        select=nothing,
        test_groups=frozenset(),
        val_groups=frozenset(),
        undecided=np.flatnonzero((data.y < 0) & voted),
    )
    epochs = _median_epochs(source)

    def graph(setting: Mapping[str, Any]) -> Any:
        return tuple(
            replace(node, params={**node.params, "epochs": epochs[node.name]})
            if node.name in epochs and "epochs" in node.params
            else node
            for node in source.method.graph(setting)
        )

    whole = replace(data, folds=(fold,), speaker_clips=())
    asked = calls(
        replace(source.method, graph=graph), source.setting, 0, source.material.context(whole)
    )
    told = ", ".join(f"{name} for {n} epochs" for name, n in epochs.items()) or "no epochs"
    say(f"training on all {len(fold.train)} labelled clips: {told}")
    artifact = _made(source, whole, asked, Use(refit=True))
    return [_member(source, whole, fold, asked[-1], artifact, epochs)]


def _ensemble(source: _Source, data: Dataset, say: Say) -> list[_Member]:
    where = source.material.context()
    members: list[_Member] = []
    for row in source.rows:
        fold = data.folds[row.index]
        for repeat, kept in enumerate(source.stages(row)):
            asked = calls(source.method, source.setting, row.index, where, repeat)
            if [call.key for call in asked] != [key for _, key in kept]:
                raise BadInput(
                    f"the code of {source.study.method}, or a feature set, has changed since study "
                    f"{source.report.study} ran, so its folds' networks cannot be had again; run "
                    "its tune command once more, or take how=refit"
                )
            say(f"the network of {row.fold} ({len(members) + 1})")
            artifact = _made(source, data, asked, Use())
            best = _best_epochs(artifact.info)
            epochs = {asked[-1].name: best[0]} if best else {}
            member = _member(source, data, fold, asked[-1], artifact, epochs)
            members.append(replace(member, notes=_same(source, asked[-1], artifact, row.fold)))
    return members


def _member(
    source: _Source,
    data: Dataset,
    fold: Fold,
    call: Call,
    artifact: Artifact,
    epochs: Mapping[str, int],
) -> _Member:
    if not any(name.startswith(WEIGHTS) for name in artifact.arrays):
        raise RaysearchError(f"the stage {call.name} of {source.study.method} gave no weights")
    own = statistics(data, fold.train) if data.normalise == "fold" else {}
    return _Member(fold.name, call.key, artifact, call.params, own, dict(epochs))


def _made(source: _Source, data: Dataset, asked: Sequence[Call], use: Use) -> Artifact:
    """The artifact of the last stage with its weights, from the store or made here."""
    store, study = source.store, source.study
    made: dict[str, Artifact] = {}
    last = asked[-1].key

    def one(call: Call) -> Artifact:
        asks = replace(use, keep_weights=call.key == last)
        key = asks.key(call)
        try:
            found = store.get(key)
        except Damaged:
            found = None
        if found is not None:
            return found[0]
        by_key = {parent.key: parent for parent in asked}
        parents = {}
        for role, parent in call.parents.items():
            if parent not in made:
                made[parent] = one(by_key[parent])
            parents[role] = made[parent]
        runtime = replace(runtime_of(study), workers=1)
        device: Literal["cpu", "cuda"] = "cuda" if study.gpus > 0 else "cpu"
        scratch = Path(study.home).absolute() / "scratch" / key
        started = time.monotonic()
        try:
            artifact = execute(call, data, parents, runtime, device, scratch, use=asks)
        except (ValueError, ArithmeticError) as error:
            raise RaysearchError(f"the stage {call.name} failed: {error}") from error
        seconds = round(time.monotonic() - started, 4)
        who = Provenance(study.id, call.name, seconds, device, os.uname().nodename, time.time())
        store.put(key, artifact, who)
        shutil.rmtree(scratch, ignore_errors=True)
        return artifact

    return one(asked[-1])


def _same(source: _Source, call: Call, artifact: Artifact, fold: str) -> tuple[str, ...]:
    """Whether a fold's network, trained again, says what it said in the study."""
    try:
        stored = source.store.get(call.key)
    except Damaged:
        stored = None
    if stored is None:
        return ()
    gap = float(np.abs(stored[0].arrays["test"] - artifact.arrays["test"]).max(initial=0.0))
    if gap <= 1e-3:
        return ()
    return (
        f"the network of {fold}, trained again here, differs from the study's by up to {gap:.3f} "
        "in a probability: another machine, or other versions, trained that",
    )


def _median_epochs(source: _Source) -> dict[str, int]:
    """By stage, the median best epoch over the folds and trainings of the setting."""
    found: dict[str, list[int]] = {}
    for row in source.rows:
        for stages in source.stages(row):
            for name, key in stages:
                try:
                    stored = source.store.get(key)
                except Damaged:
                    stored = None
                if stored is None:
                    raise BadInput(
                        f"the artifact of {name} on {row.fold} is not in the store "
                        f"{source.store.uri} any more, and with it its best epoch; run the study's "
                        "tune command once more"
                    )
                found.setdefault(name, []).extend(_best_epochs(stored[0].info))
    return {name: max(1, round(float(np.median(all_)))) for name, all_ in found.items() if all_}


def _best_epochs(info: Mapping[str, Any]) -> list[int]:
    runs = [info] if "best_epoch" in info else info.get("runs", [])
    return [int(run["best_epoch"]) for run in runs]


# -- the model's folder ----------------------------------------------------------------------------
def _write(
    place: Path, source: _Source, data: Dataset, how: How, members: Sequence[_Member]
) -> dict[str, Any]:
    """Write weights, encoders and facts into the folder `place`; returns the facts."""
    study, setting = source.study, source.setting
    entries = []
    for number, member in enumerate(members):
        arrays = {n: a for n, a in member.artifact.arrays.items() if n.startswith(WEIGHTS)}
        arrays |= {f"{STATISTICS}{name}": value for name, value in member.statistics.items()}
        info = {"params": dict(member.params), "stage": dict(member.artifact.info)}
        who = Provenance(study.id, EVERYONE if how == "refit" else member.fold)
        file = f"member-{number}.safetensors"
        (place / file).write_bytes(encode(Artifact(arrays, info), who))
        entries.append(
            {"file": file, "fold": member.fold, "key": member.key, "epochs": dict(member.epochs)}
        )
    notes = [*source.material.notes, *(note for member in members for note in member.notes)]
    if source.unfinished:
        notes.append(source.unfinished)
    if how == "refit":
        notes += source.exporter.notes(setting)
    plain = to_plain(source.report)
    rows = source.rows
    mean = {
        key: float(np.mean([row.scores[key] for row in rows])) for key in ("test_ua", "test_wa")
    }
    facts: dict[str, Any] = {
        "format": FORMAT,
        "raysearch": raysearch.__version__,
        "source": source_digest(source.method.graph.__module__),
        "method": study.method,
        "study": study.id,
        "trial": source.trial.number,
        "setting": dict(source.trial.params),
        "params": setting,
        "how": how,
        "members": entries,
        "classes": list(source.material.corpus.classes),
        "features": [_feature(place, number, name) for number, name in enumerate(study.features)],
        "normalise": study.normalise,
        "speaker_clips": _clips_needed(study),
        "speaker_scores": _speaker_scores(source),
        "thresholds": _thresholds(source, data.votes) if source.exporter.several(setting) else None,
        "corpus": list(study.corpus.name),
        "clips": int(source.material.corpus.labelled.sum()),
        "simulated": sorted(source.material.corpus.simulated),
        "estimates": plain["estimates"],
        "setting_scores": mean,
        "notes": list(dict.fromkeys([*source.report.warnings, *notes])),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    facts = json.loads(json.dumps(facts, allow_nan=False))
    whole = {**facts, "digest": digest_of(facts)}
    (place / FACTS).write_text(json.dumps(whole, indent=1, ensure_ascii=False), encoding="utf-8")
    return facts


def _feature(place: Path, number: int, name: str) -> dict[str, Any]:
    """A feature set's facts; the models that it reads are copied into the folder."""
    info = known()[name]
    models = {}
    for model in models_of(info):
        try:
            source = model.folder()
        except Unusable as error:
            raise BadInput(f"{error}") from error
        inside = Path("encoders", str(number), source.name)
        if model.name not in models:
            shutil.copytree(source, place / inside)
            models[model.name] = str(inside)
    here = relocated(info, {n: place / inside for n, inside in models.items()})
    return {"name": name, "version": here.version(), "models": models}


def _clips_needed(study: Study) -> int:
    if study.normalise == "fold":
        return 1
    return min(study.speaker_clips, default=_CLIPS)


def _speaker_scores(source: _Source) -> dict[str, float]:
    """Mean test UA with statistics of so few clips of a speaker, and of all."""
    if source.study.normalise == "fold":
        return {}
    names = {str(n): f"test_ua_{n}_clips" for n in source.study.speaker_clips} | {"all": "test_ua"}
    return {
        n: float(np.mean([row.scores[name] for row in source.rows]))
        for n, name in names.items()
        if all(name in row.scores for row in source.rows)
    }


def _thresholds(source: _Source, votes: NDArray[np.float32] | None) -> dict[str, float]:
    """By class, the probability that tells best (F1) which classes raters named.

    Taken from the folds' validation clips, which the folds' networks predicted without having
    learnt from them: a clip's classes are all that a rater named.
    """
    assert votes is not None, "targets of several classes are made of votes"
    given, named = [], []
    for row in source.rows:
        fold = source.material.folds[row.index]
        for stages in source.stages(row):
            stored = source.store.get(stages[-1][1])
            if stored is not None:
                given.append(stored[0].arrays["validation"])
                named.append(votes[fold.validation] > 0)
    probabilities, sets = np.concatenate(given), np.concatenate(named)
    return {
        name: best_threshold(probabilities[:, k], sets[:, k])
        for k, name in enumerate(source.material.corpus.classes)
    }


def best_threshold(scores: NDArray[np.float32], marks: NDArray[np.bool_]) -> float:
    """The threshold t with the best F1 of `scores >= t` against `marks`; 1.0 where none is marked.

    Of equally good ones the highest; it lies halfway to the next lower score.
    """
    if not marks.any():
        return 1.0
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order].astype(np.float64), np.cumsum(marks[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + marks.sum())
    ends = np.append(ranked[1:] < ranked[:-1], True)  # equal scores fall on one side together
    best = int(np.argmax(np.where(ends, f1, -1.0)))
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


# -- tried before it is shown ----------------------------------------------------------------------
def _example(clips: int) -> list[bytes]:
    """Synthetic tones as WAV files, no speech: enough for one request."""
    made = []
    at = np.arange(8000) / 16_000
    for number in range(clips):
        tone = np.sin(2 * np.pi * (110 + 15 * number) * at * (1 + 0.2 * at))
        tone *= 0.3 + 0.1 * np.sin(2 * np.pi * 3 * at)
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(16_000)
            out.writeframes((32767 * tone).astype("<i2").tobytes())
        made.append(file.getvalue())
    return made


_TRY = """
import sys, json, pathlib
sys.path.insert(0, sys.argv[2])
import raysearch, trainables
inside = pathlib.Path(sys.argv[2]).resolve()
for package in (raysearch, trainables):
    assert inside in pathlib.Path(package.__file__).resolve().parents, package.__file__
from raysearch.model import Model, Sound
model = Model(pathlib.Path(sys.argv[1]))
files = sorted(pathlib.Path(sys.argv[3]).iterdir())
heard = model.hear([Sound(file.name, file.read_bytes()) for file in files])
assert not heard.failures, list(heard.failures.values())
tops = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"probabilities": heard.probabilities.tolist(), "modules": tops}))
"""


def _tried(place: Path, code: Path, example: Sequence[bytes]) -> dict[str, Any]:
    """What the model says of the example in a new process that has its own code alone."""
    with tempfile.TemporaryDirectory(prefix="raysearch-try-") as folder:
        for number, data in enumerate(example):
            Path(folder, f"{number:03d}.wav").write_bytes(data)
        environment = {n: v for n, v in os.environ.items() if n not in ("PYTHONPATH", "PYTHONHOME")}
        done = subprocess.run(
            [sys.executable, "-B", "-c", _TRY, str(place), str(code), folder],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
        )
    if done.returncode:
        raise RaysearchError(
            f"the model does not work by itself: {done.stderr.strip().splitlines()[-1]}"
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _package(
    place: Path, code: Path, facts: Mapping[str, Any], example: Sequence[bytes], tried: Any
) -> Any:
    from raysearch.registering import Package

    return Package(
        data=place,
        code=tuple(sorted(code.iterdir())),
        facts=facts,
        example=tuple(example),
        requirements=tuple(_requirements(tried["modules"])),
    )


def _requirements(modules: Sequence[str]) -> Iterator[str]:
    """Pins of the distributions that the model was seen to load, and of MLflow.

    Of what raysearch depends on: the others come with these.
    """
    loaded = metadata.packages_distributions()
    seen = {name.lower() for top in modules for name in loaded.get(top, ())}
    for name in (*_DIRECT, *_ALWAYS):
        if name in seen or name in _ALWAYS:
            yield f"{name}=={metadata.version(name).partition('+')[0]}"


_DIRECT = (
    "huggingface-hub", "numpy", "opensmile", "pandas", "safetensors", "soundfile", "torch",
    "torchaudio", "transformers",
)  # fmt: skip
_ALWAYS = ("scipy", "mlflow")
"""scipy resamples clips of other rates than the example's"""


# -- what is told ----------------------------------------------------------------------------------
_GRAVE = ("synthetic", "simulated", "untrained")


def _lines(where: str, facts: Mapping[str, Any], source: _Source) -> Iterator[str]:
    count = len(facts["members"])
    how = (
        f"trained on all {facts['clips']} labelled clips"
        if facts["how"] == "refit"
        else f"the mean of {count} folds' networks"
    )
    yield f"{where}: {facts['method']}, trial {facts['trial']} of {facts['study']}, {how}"
    yield f"setting: {written(facts['setting'])}"
    for member in facts["members"] if facts["how"] == "refit" else ():
        told = ", ".join(f"{name} {n}" for name, n in member["epochs"].items())
        yield f"epochs (the median best of the folds): {told or 'none'}"
    honest = facts["estimates"]["honest"]
    ends = honest["ua_interval"]
    between = f" (95 % interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else ""
    yield (
        f"expect {100 * honest['ua']:.1f} % UA{between} on new speakers: the study's honest "
        "estimate, of trainings on fewer speakers"
    )
    if facts["normalise"] == "speaker":
        yield f"it needs {facts['speaker_clips']} clips of a speaker or more at a time"
    if facts["thresholds"] is not None:
        told = ", ".join(f"{name} {value:.2f}" for name, value in facts["thresholds"].items())
        yield f"a clip's classes are those above: {told}"
    for note in facts["notes"]:
        if note not in source.material.notes or any(word in note for word in _GRAVE):
            yield f"note: {note}"
    at = "" if Path(where).exists() else f" home={source.study.home}"
    yield f"predict: python -m raysearch predict model={where}{at} FILE.wav FOLDER/"
