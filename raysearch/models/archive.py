"""The folder of a model: weights, encoders and facts; and the package that MLflow gets of it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raysearch.data.features import known
from raysearch.data.features.extractor import Unusable
from raysearch.data.features.pretrained import PretrainedModel, absolute, models_of, relocated
from raysearch.errors import BadInput, RaysearchError
from raysearch.models.model import FACTS, FORMAT, PARENTS, STATISTICS, Facts, digest_of
from raysearch.models.refit import Member, Network
from raysearch.models.source import Source
from raysearch.report import to_plain
from raysearch.selection import interval
from raysearch.selection.measures import distributions, fit_temperature
from raysearch.stages import Dataset, source_digest
from raysearch.stages.store import Provenance, encode
from raysearch.stages.temporary import temporary_folder
from raysearch.study import Study
from raysearch.study.software import version
from trainables.stage import WEIGHTS, Array, Artifact

How = Literal["refit", "ensemble"]
Temperature = Literal["none", "fitted"]
_CLIPS = 5
"""clips of a new speaker that a model asks for, where its study measured no number of them"""


# -- the model's folder ----------------------------------------------------------------------------
def write(
    place: Path,
    source: Source,
    data: Dataset,
    how: How,
    members: Sequence[Member],
    temperature: float | None = None,
) -> Facts:
    """Write weights, encoders and facts into the folder `place`; returns the facts."""
    study, setting = source.study, source.setting
    entries = []
    for number, member in enumerate(members):
        file = f"member-{number}.safetensors"
        who = Provenance(study.id, member.fold)
        (place / file).write_bytes(encode(_networks(member), who))
        key = member.last.call.key
        entries.append(
            {"file": file, "fold": member.fold, "key": key, "epochs": dict(member.epochs)}
        )
    notes = [*source.inputs.notes, *(note for member in members for note in member.notes)]
    notes += source.exporter.remarks(setting)
    if source.unfinished:
        notes.append(source.unfinished)
    if how == "refit":
        notes += source.exporter.notes(setting)
    plain = to_plain(source.report)
    facts: Facts = {
        "format": FORMAT,
        "raysearch": version(),
        "source": source_digest(source.method.graph.__module__),
        "method": study.method,
        "study": study.id,
        "trial": source.trial.number,
        "setting": dict(source.trial.params),
        "params": setting,
        "how": how,
        "members": entries,
        "classes": list(source.inputs.corpus.outputs),
        "numbers": study.task.continuous,
        "task": study.task.model_dump() if study.task.graded else None,
        "rater": _rater(source, data),
        "features": [_feature(place, number, name) for number, name in enumerate(study.features)],
        "checkpoints": _checkpoints(place, source, members),
        "normalise": study.normalise,
        "speaker_clips": _clips_needed(study),
        "speaker_scores": _speaker_scores(source),
        "thresholds": _thresholds(source, data.votes) if source.exporter.several(setting) else None,
        "temperature": temperature,
        "corpus": list(study.corpus.name),
        "clips": _clips(source, data),
        "simulated": sorted(source.inputs.simulated),
        "estimates": plain["estimates"],
        "expected": _expected(source),
        "setting_scores": _means(source),
        "notes": list(dict.fromkeys([*source.report.warnings, *notes])),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    facts = json.loads(json.dumps(facts, allow_nan=False))
    whole = {**facts, "digest": digest_of(facts)}
    (place / FACTS).write_text(json.dumps(whole, indent=1, ensure_ascii=False), encoding="utf-8")
    return facts


def _means(source: Source) -> dict[str, float]:
    """The setting's mean test scores."""
    names = ("test_ccc", "test_rmse") if source.study.task.continuous else ("test_ua", "test_wa")
    return {x: float(np.mean([row.scores[x] for row in source.rows])) for x in names}


def _networks(member: Member) -> Artifact:
    """A member's weights, and those of the stages that its last one reads."""

    def weights(of: Network) -> dict[str, Array]:
        return {n: a for n, a in of.artifact.arrays.items() if n.startswith(WEIGHTS)}

    def facts(of: Network) -> Facts:
        return {"params": dict(of.call.params), "stage": dict(of.artifact.info)}

    arrays = weights(member.last)
    arrays |= {f"{STATISTICS}{name}": value for name, value in member.statistics.items()}
    for role, parent in member.parents.items():
        arrays |= {f"{PARENTS}{role}/{name}": value for name, value in weights(parent).items()}
    parents = {role: facts(parent) for role, parent in member.parents.items()}
    return Artifact(arrays, {**facts(member.last), "parents": parents})


def _rater(source: Source, data: Dataset) -> Facts | None:
    """Whose perception it is, and how many clips that rater rated; None where labels are learnt."""
    if not source.rater:
        return None
    assert data.ratings is not None
    mine = data.ratings[:, data.raters.index(source.rater)]
    return {"name": source.rater, "clips": int((mine >= 0).sum())}


def _clips(source: Source, data: Dataset) -> int:
    """The clips that a refit may learn from: labelled, or rated by anyone."""
    if data.ratings is None:
        return int(source.inputs.corpus.labelled.sum())
    return int((data.ratings >= 0).any(axis=1).sum())


def _expected(source: Source) -> Facts:
    """The honest UA (CCC for numbers), over the rater's folds where there is a rater."""
    assert source.report.estimates is not None
    metric = "ccc" if source.study.task.continuous else "ua"
    estimate = source.report.estimates.honest[metric]
    mean, low, high = estimate.mean, estimate.low, estimate.high
    if source.rater:
        mean, low, high, _ = interval(np.array([estimate.values[row.index] for row in source.rows]))
    return {metric: mean, "interval": None if low is None else [low, high]}


def _feature(place: Path, number: int, name: str) -> Facts:
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


def _checkpoints(place: Path, source: Source, members: Sequence[Member]) -> dict[str, str]:
    """By parameter, where the models lie that the members' networks are built on: copied here."""
    named = source.exporter.checkpoints(members[0].last.call.params)
    places = {}
    for param, (name, revision) in named.items():
        model = PretrainedModel(f"params.{param}", absolute(name), (), revision)
        try:
            files = model.folder()
        except Unusable as error:
            raise BadInput(f"{error}") from error
        inside = Path("encoders", param)
        shutil.copytree(files, place / inside)
        places[param] = str(inside)
    return places


def _clips_needed(study: Study) -> int:
    if study.normalise == "fold":
        return 1
    return min(study.speaker_clips, default=_CLIPS)


def _speaker_scores(source: Source) -> dict[str, float]:
    """Mean test UA (CCC for numbers) with statistics of so few clips of a speaker, and of all."""
    if source.study.normalise == "fold":
        return {}
    test = "test_ccc" if source.study.task.continuous else "test_ua"
    names = {str(n): f"{test}_{n}_clips" for n in source.study.speaker_clips} | {"all": test}
    return {
        n: float(np.mean([row.scores[name] for row in source.rows]))
        for n, name in names.items()
        if all(name in row.scores for row in source.rows)
    }


def temperature(source: Source) -> float:
    """The temperature that fits the folds' validation clips best (least NLL), all together.

    The folds' networks predicted these without having learnt from them. One network's certainty is
    not quite another's: of an ensemble, each member is taken to it before their mean.

    Raises:
        BadInput: the model names several classes, or the store has no fold's predictions any more.
    """
    if source.exporter.several(source.setting):
        raise BadInput(
            "temperature=fitted is for models that name one class, but this one names all classes "
            "above their thresholds; leave it out"
        )
    answers, parts = source.inputs.answers(), []
    for row in source.rows:
        one = answers[row.index]
        for stages in source.stages(row):
            entry = source.store.get(stages[-1][1])
            if entry is None:
                raise BadInput(
                    f"temperature=fitted needs the predictions of fold {row.fold}, which the store "
                    f"{source.store.uri} has no more; the same tune command computes them again"
                )
            p, y = entry[0].arrays["validation"], one.validation
            if one.selected:  # what scores a setting, and stopped no training
                p, y = entry[0].arrays["test"][: one.selected], one.unseen[: one.selected]
            parts.append((p[y >= 0], y[y >= 0]))
    probabilities, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    return fit_temperature(distributions(probabilities), labels)


def _thresholds(source: Source, votes: NDArray[np.float32] | None) -> dict[str, float]:
    """By class, the probability that tells best (F1) which classes raters named.

    Taken from the folds' validation clips, which the folds' networks predicted without having
    learnt from them: a clip's classes are all that a rater named.
    """
    assert votes is not None, "targets of several classes are made of votes"
    scores, marks = [], []
    for row in source.rows:
        fold = source.inputs.folds[row.index]
        for stages in source.stages(row):
            entry = source.store.get(stages[-1][1])
            if entry is not None:
                scores.append(entry[0].arrays["validation"])
                marks.append(votes[fold.validation] > 0)
    probabilities, sets = np.concatenate(scores), np.concatenate(marks)
    return {
        name: best_threshold(probabilities[:, k], sets[:, k])
        for k, name in enumerate(source.inputs.corpus.classes)
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
def example(clips: int) -> list[bytes]:
    """Synthetic tones as WAV files, no speech: enough for one request."""
    files = []
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
        files.append(file.getvalue())
    return files


_TRY = """
import sys, json, pathlib
sys.path.insert(0, sys.argv[2])
import raysearch, trainables
inside = pathlib.Path(sys.argv[2]).resolve()
for package in (raysearch, trainables):
    assert inside in pathlib.Path(package.__file__).resolve().parents, package.__file__
from raysearch.models.model import Model, Sound
model = Model(pathlib.Path(sys.argv[1]))
files = sorted(pathlib.Path(sys.argv[3]).glob("*.wav"))
answer = model.hear([Sound(file.name, file.read_bytes()) for file in files])
assert not answer.failures, list(answer.failures.values())
tops = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"probabilities": answer.probabilities.tolist(), "modules": tops}))
"""


def try_alone(place: Path, code: Path, example: Sequence[bytes]) -> Facts:
    """What the model says of the example in a new process that has its own code alone.

    Args:
        place: the model's folder.
        code: the folder of its code.
        example: audio files.

    Returns:
        `probabilities` [n, K], and the top-level `modules` that it loaded.

    Raises:
        RaysearchError: it does not work.
    """
    with temporary_folder("raysearch-try-") as folder:
        for number, data in enumerate(example):
            (folder / f"{number:03d}.wav").write_bytes(data)
        environment = {n: v for n, v in os.environ.items() if n not in ("PYTHONPATH", "PYTHONHOME")}
        process = subprocess.run(
            [sys.executable, "-B", "-c", _TRY, str(place), str(code), str(folder)],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
        )
    if process.returncode:
        raise RaysearchError(
            f"the model does not work by itself: {process.stderr.strip().splitlines()[-1]}"
        )
    answer: Facts = json.loads(process.stdout.splitlines()[-1])
    return answer


def requirements(modules: Sequence[str]) -> Iterator[str]:
    """Pins of the distributions that the model was seen to load, and of MLflow.

    Of what raysearch depends on: the others come with these.
    """
    loaded = metadata.packages_distributions()
    names = {name.lower() for top in modules for name in loaded.get(top, ())}
    for name in (*_DIRECT, *_ALWAYS):
        if name in names or name in _ALWAYS:
            yield f"{name}=={metadata.version(name).partition('+')[0]}"


_DIRECT = (
    "huggingface-hub", "numpy", "opensmile", "pandas", "peft", "safetensors", "scikit-learn",
    "skops", "soundfile", "torch", "torchaudio", "transformers",
)  # fmt: skip
_ALWAYS = ("scipy", "mlflow")
"""scipy resamples clips of other rates than the example's"""
