"""A model in use: a folder of weights, statistics and facts -> class probabilities of new clips.

`export` writes such a folder. Reading it takes no study, no corpus, and neither Ray nor MLflow, so
that a model works on a machine that has nothing else: MLflow calls `_load_pyfunc`, and `predict`
reads the folder itself. Nothing in it is pickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raysearch.data.corpora.sound import inspect_bytes
from raysearch.data.features import Chunk, ExtractorInfo, extract_chunk, known
from raysearch.data.features.pretrained import relocated
from raysearch.errors import BadInput
from raysearch.selection.measures import distributions, scaled
from raysearch.stages import Dataset, Moments, normalised, source_digest, statistics
from raysearch.stages.methods import method as find_method
from raysearch.stages.store import Damaged, decode
from trainables.stage import Array, NetworkState, Part, Sequences, weights_of

if TYPE_CHECKING:
    import pandas as pd


FORMAT = 1
FACTS = "model.json"
STATISTICS = "statistics/"
"""what the names of a member's arrays begin with that normalise its input"""
PARENTS = "parents/"
"""and with that, with a role and a slash behind it, are of a network that its last one reads"""
_AT_ONCE = 64
"""clips that are in memory together, where a speaker's do not have to be"""
_CODES = {
    "empty": "holds no sound",
    "scale": "is far beyond full scale",
    "short": "is too short",
    "truncated": "is cut off",
}
Facts = Mapping[str, Any]
"""what a model's file of facts says, or a part of it: plain values of JSON"""


@dataclass(frozen=True)
class Sound:
    """A clip to predict: the bytes of an audio file."""

    name: str
    """for messages"""
    data: bytes
    speaker: str = ""
    """whose; clips of one speaker normalise each other, where the model asks for that"""
    transcript: str = ""
    """what is said, for features of words; "" leaves it to Whisper"""


@dataclass(frozen=True)
class Predictions:
    """What a model makes of clips."""

    probabilities: NDArray[np.float32]
    """[n, K], in the order of the clips; NaN where `failures` tells why there is none"""
    failures: Mapping[int, str]
    """by place, one sentence that names the clip"""


Predict = Callable[[Part], NDArray[np.float32]]


class Model:
    """A model in the folder that `export` wrote.

    Args:
        folder: holds model.json.

    Raises:
        BadInput: the folder holds no model, or one that is damaged, of another format, or of
            features that this machine hears otherwise.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts = _facts(folder)
        self.classes: tuple[str, ...] = tuple(self.facts["classes"])
        self._infos = [_extractor(folder, one) for one in self.facts["features"]]
        self._method = find_method(str(self.facts["method"]))
        self._members: list[tuple[Predict, dict[str, NDArray[np.float64]]]] | None = None

    @property
    def numbers(self) -> bool:
        """Whether its `classes` are attributes, and what it says of clips their values."""
        return bool(self.facts.get("numbers"))

    @property
    def by_speaker(self) -> bool:
        """Whether a clip is normalised by its speaker's other clips."""
        return bool(self.facts["normalise"] == "speaker")

    @property
    def needs(self) -> int:
        """How many clips of a speaker are asked for, at least."""
        return int(self.facts["speaker_clips"]) if self.by_speaker else 1

    @property
    def thresholds(self) -> dict[str, float] | None:
        """Class -> the probability from which it is named; None where one class is named."""
        thresholds = self.facts["thresholds"]
        return (
            None
            if thresholds is None
            else {name: float(value) for name, value in thresholds.items()}
        )

    @property
    def constants(self) -> dict[str, str]:
        """What is the same of all its answers: see `constants_of`."""
        return constants_of(self.facts)

    @property
    def other_code(self) -> bool:
        """Whether the code that would predict here is not that which the model was made with."""
        return bool(self.facts["source"] != source_digest(self._method.graph.__module__))

    def hear(self, sounds: Sequence[Sound]) -> Predictions:
        """Class probabilities (or attributes' values) of clips, which fail one by one.

        Raises:
            BadInput: an extractor cannot work here at all, or weights are damaged.
        """
        probabilities = np.full((len(sounds), len(self.classes)), np.nan, dtype=np.float32)
        failures: dict[int, str] = {}
        good: list[int] = []
        for place, sound in enumerate(sounds):
            inspection = inspect_bytes(sound.data)
            if inspection.verdict == "ok":
                good.append(place)
            else:
                what = _CODES.get(inspection.verdict, "is no audio that can be read")
                failures[place] = f"{sound.name} {what}: {inspection.detail}"
        for group in self._groups(sounds, good):
            rows, data, reasons = self._data([sounds[place] for place in group])
            failures |= {group[i]: sentence for i, sentence in reasons.items()}
            if len(rows) < self.needs:
                failures |= {group[i]: self._too_few(sounds[group[i]], len(rows)) for i in rows}
            elif rows:
                assert data is not None
                probabilities[[group[i] for i in rows]] = self._predicted(data)
        return Predictions(probabilities, failures)

    def names(self, probabilities: NDArray[np.float32]) -> list[str]:
        """What each row [n, K] is called: its likeliest class, or all above their thresholds."""
        limits = self.thresholds
        if limits is None:
            return [self.classes[i] for i in probabilities.argmax(axis=1)]
        least = np.array([limits[name] for name in self.classes])
        # whatever the thresholds, a clip has one class at least
        over = (probabilities >= least) | (probabilities == probabilities.max(axis=1)[:, None])
        return ["|".join(np.array(self.classes)[row]) for row in over]

    # -- inside ------------------------------------------------------------------------------------
    def _groups(self, sounds: Sequence[Sound], places: Sequence[int]) -> list[list[int]]:
        """Places whose clips are worked on together."""
        if not self.by_speaker:
            return [list(places[i : i + _AT_ONCE]) for i in range(0, len(places), _AT_ONCE)]
        by: dict[str, list[int]] = {}
        for place in places:
            by.setdefault(sounds[place].speaker, []).append(place)
        return list(by.values())

    def _too_few(self, sound: Sound, count: int) -> str:
        clips = "1 clip" if count == 1 else f"{count} clips"
        whose = f" of the speaker {sound.speaker}" if sound.speaker else ""
        examples = [
            f"{n} gave {100 * value:.1f} %" if n != "all" else f"all {100 * value:.1f} %"
            for n, value in self.facts["speaker_scores"].items()
        ]
        scores = f" (UA in the study: {', '.join(examples)})" if examples else ""
        return (
            f"{sound.name} cannot be judged alone: this model normalises a clip by its speaker's "
            f"clips and needs {self.needs} of them or more, of all emotions, but got {clips}"
            f"{whose}; give more clips of the speaker{scores}"
        )

    def _data(self, sounds: Sequence[Sound]) -> tuple[list[int], Dataset | None, dict[int, str]]:
        """The places that every extractor could hear, their features, and why not the others."""
        columns: list[list[Array]] = [[] for _ in self._infos]
        rows: list[int] = []
        failures: dict[int, str] = {}
        for place, sound in enumerate(sounds):
            values: list[Array] = []
            for info in self._infos:
                matrix = _extract(info, sound)
                if isinstance(matrix, str):
                    failures[place] = matrix
                    break
                values.append(matrix)
            else:
                rows.append(place)
                for column, value in zip(columns, values, strict=True):
                    column.append(value)
        if not rows:
            return rows, None, failures
        vectors = [
            np.concatenate(column)
            for info, column in zip(self._infos, columns, strict=True)
            if info.kind == "vector"
        ]
        frames = {
            info.base: _sequences(column)
            for info, column in zip(self._infos, columns, strict=True)
            if info.kind == "frames"
        }
        n = len(rows)
        data = Dataset(
            ids=np.array([sounds[place].name for place in rows]),
            x=np.hstack(vectors) if vectors else np.empty((n, 0), dtype=np.float32),
            y=np.full(n, -1, dtype=np.int64),
            votes=None,
            speaker=np.zeros(n, dtype=np.int64),
            corpus=np.zeros(n, dtype=np.int64),
            classes=self.classes,
            folds=(),
            normalise="speaker" if self.by_speaker else "fold",
            frames=frames,
            # what has no moments is handed on as extracted, as in the study
            moments={
                info.base: Moments.of(frames[info.base])
                for info in self._infos
                if info.kind == "frames" and info.normalise
            },
        )
        return rows, data, failures

    def _predicted(self, data: Dataset) -> NDArray[np.float32]:
        """Mean over the members of their probabilities [n, K]."""
        rows = np.arange(len(data.ids))
        own = statistics(data, rows) if self.by_speaker else None
        if self._members is None:
            self._members = [self._member(one) for one in self.facts["members"]]
        parts: list[NDArray[Any]] = [
            predict(normalised(data, rows, scaling if own is None else own))
            for predict, scaling in self._members
        ]
        temperature = self.facts.get("temperature")  # older models have none
        if temperature is not None:
            parts = [scaled(distributions(p), float(temperature)) for p in parts]
        mean: NDArray[np.float64] = np.stack(parts).astype(np.float64).mean(axis=0)
        return mean.astype(np.float32)

    def _member(self, member: Facts) -> tuple[Predict, dict[str, NDArray[np.float64]]]:
        path = self.folder / member["file"]
        try:
            artifact, _ = decode(path.read_bytes())
        except (OSError, Damaged) as error:
            raise BadInput(
                f"the model in {self.folder} is damaged: {path.name}: {error}; export it again, or "
                "copy it again from where it is whole"
            ) from error
        if self._method.export is None:
            raise BadInput(f"the method {self.facts['method']} of this model cannot predict here")
        parents = {
            role: self._trained(facts, _within(f"{PARENTS}{role}/", artifact.arrays))
            for role, facts in artifact.info.get("parents", {}).items()
        }
        trained = replace(self._trained(artifact.info, artifact.arrays), parents=parents)
        try:
            predict = self._method.export.predictor(trained)
        except ImportError as error:
            raise _lacking(self.folder, error) from error
        return predict, _within(STATISTICS, artifact.arrays)

    def _trained(self, facts: Facts, arrays: Mapping[str, Array]) -> NetworkState:
        places = self.facts.get("checkpoints", {})  # older models have none
        return NetworkState(
            facts["params"],
            weights_of(arrays),
            facts["stage"],
            self.classes,
            checkpoints={name: self.folder / place for name, place in places.items()},
        )


def _within(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin so, by what follows."""
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def constants_of(facts: Facts) -> dict[str, str]:
    """What is the same of all answers of a model: `rater`, whose perception it is of, and `task`,
    the attribute that its classes are levels of. Models of labels and categories have neither."""
    constants = {}
    if facts.get("rater"):
        constants["rater"] = str(facts["rater"]["name"])
    if facts.get("task"):
        constants["task"] = str(facts["task"]["name"])
    return constants


def expected_words(facts: Facts) -> str:
    """The honest estimate: "78.9 % UA", or "0.540 CCC" of numbers."""
    if facts.get("numbers"):
        return f"{facts['expected']['ccc']:.3f} CCC"
    return f"{100 * facts['expected']['ua']:.1f} % UA"


def perception(facts: Facts) -> str:
    """Whose perception a model is of, and of what, in words; "" where it is of a corpus's labels
    in categories."""
    constants = constants_of(facts)
    of = f"{', '.join(facts['classes'])} as numbers" if facts.get("numbers") else ""
    if "task" in constants:
        of = f"{constants['task']} in the levels {', '.join(facts['classes'])}"
    if "rater" in constants:
        return f"as the rater {constants['rater']} hears {of or 'emotions'}"
    return of


def _facts(folder: Path) -> Facts:
    path = folder / FACTS
    if not path.is_file():
        raise BadInput(f"{folder} holds no model of raysearch: there is no {FACTS} in it")
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        digest = facts.pop("digest")
        if digest != digest_of(facts):
            raise ValueError("its digest does not match its contents")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"the model in {folder} is damaged: {FACTS}: {error}; export it again, or copy it "
            "again from where it is whole"
        ) from error
    if facts.get("format") != FORMAT:
        raise BadInput(
            f"the model in {folder} is of format {facts.get('format')!r}, and this raysearch reads "
            f"format {FORMAT}: use the code that lies beside it"
        )
    return facts


def digest_of(facts: Facts) -> str:
    """SHA-256 of a model's facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _extractor(folder: Path, feature: Facts) -> ExtractorInfo:
    """An extractor as it was when the model was made. Raises BadInput where it is another here."""
    info = relocated(
        known()[feature["name"]],
        {name: folder / place for name, place in feature["models"].items()},
    )
    try:
        here = info.version()
    except ImportError as error:
        raise _lacking(folder, error) from error
    if here != feature["version"]:
        raise BadInput(
            f"the model in {folder} was made with {feature['name']} as {feature['version']} "
            f"extracts it, but here it is {here}; install what the model asks for "
            "(requirements.txt beside its MLmodel)"
        )
    return info


def _lacking(folder: Path, error: ImportError) -> BadInput:
    return BadInput(
        f"the model in {folder} needs what is not installed here: {error}; install what it asks "
        "for (requirements.txt beside its MLmodel)"
    )


def _extract(info: ExtractorInfo, sound: Sound) -> Array | str:
    """[1, D] or [frames, D] of a clip, or why there is none."""
    digest = hashlib.sha256(sound.data).hexdigest()
    result = extract_chunk(
        Chunk(
            extractor=info,
            version="",
            clips=(sound.name,),
            digests=(digest,),
            files=(digest,),
            paths=(sound.name,),
            texts=(sound.transcript,),
            audio=(sound.data,),
        )
    )
    if result.broken:
        raise BadInput(f"features={info.name}: {result.broken}")
    if result.failures:
        return result.failures[0].rstrip(".")
    return result.matrix


def _sequences(rows: Sequence[Array]) -> Sequences:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Sequences(np.concatenate(rows), starts)


# -- MLflow ----------------------------------------------------------------------------------------
class _Served:
    """What MLflow holds: a data frame of clips in, one of probabilities out.

    Columns in: `audio` (the bytes of an audio file; base64 over HTTP) or `path` (of a file on the
    machine that predicts), and if you like `speaker` and `transcript`. Without `speaker`, all rows
    of a request are one speaker's. Columns out: the classes, `label`, and what is the same of all
    answers (`constants_of`).
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, data: pd.DataFrame, params: object = None) -> pd.DataFrame:
        import pandas as pd

        sounds = [_sound(place, row) for place, row in enumerate(data.to_dict("records"))]
        predictions = self._model.hear(sounds)
        if predictions.failures:
            raise BadInput([predictions.failures[i] for i in sorted(predictions.failures)])
        table = pd.DataFrame(
            predictions.probabilities.astype(np.float64), columns=list(self._model.classes)
        )
        if self._model.numbers:
            return table
        return table.assign(
            label=self._model.names(predictions.probabilities), **self._model.constants
        )


def _sound(place: int, row: Mapping[Hashable, Any]) -> Sound:
    fields = {name: value for name, value in row.items() if not _absent(value)}
    where = f"row {place}"
    if ("audio" in fields) == ("path" in fields):
        raise BadInput(
            f"{where}: give the bytes of an audio file as audio (base64 over HTTP), or a path"
        )
    if "path" in fields:
        where = f"{where} ({fields['path']})"
        try:
            data = Path(fields["path"]).read_bytes()
        except OSError as error:
            raise BadInput(f"{where} cannot be read: {error.strerror or error}") from error
    else:
        data = bytes(fields["audio"])
    return Sound(where, data, str(fields.get("speaker", "")), str(fields.get("transcript", "")))


def _absent(value: object) -> bool:
    return value is None or value != value or value in ("", b"")


def _load_pyfunc(path: str) -> _Served:
    """Called by MLflow with the model's data folder."""
    return _Served(Model(Path(path)))
