"""A study's selected setting on its test clips with noise: by the networks of its folds.

Each fold's network, which never heard the fold's test speakers, predicts their clips again once
noise is mixed in and features are extracted anew. Both lie where all features and artifacts lie,
under keys that hold what they hang on: the same command again computes nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysearch.data import features
from raysearch.data.corpora.corpus import PART, Corpus
from raysearch.data.features.extractor import Chunk, ChunkResult
from raysearch.data.noise import BABBLE, NoisyClip, Recording, Talkers, draws, named
from raysearch.errors import BadInput
from raysearch.models.model import Predict
from raysearch.models.refit import Member, Say, fold_member, network_keys, trainings
from raysearch.models.source import EVERY, Source, source_of
from raysearch.report import NoiseLevel, NoiseTest
from raysearch.stages import Call, Dataset, Moments, normalised, source_digest, statistics
from raysearch.stages.folds import Fold
from raysearch.stages.keys import HANDED_BY
from raysearch.stages.outage import telling
from raysearch.stages.sources import own_digest
from raysearch.stages.store import Damaged, Provenance
from raysearch.study.folder import check_home, ray_log
from raysearch.study.ledger import FoldRow
from raysearch.study.wording import many
from raysearch.tuning.prepare import side_by_side
from trainables.stage import Artifact, Sequences

_MANY = 200
"""noisy clips from which a start of Ray, some ten seconds, is worth its while"""
_AT_ONCE = 256
"""clips that are predicted at once, where the method does not take them in batches itself"""
_EVERY = 15.0
"""seconds between two words on how far the clips are"""
_STAGE = "noise"

_Noise = tuple[str, float]
"""a kind, and the ratio in dB"""
_Run = Callable[[Callable[[Chunk], ChunkResult], Iterable[Chunk]], Iterator[ChunkResult]]


def noise_test(folder: Path, snrs: Sequence[float], kinds: Sequence[str], say: Say) -> NoiseTest:
    """The selected setting's scores with noise.

    Args:
        folder: the study's.
        snrs: ratios in dB.
        kinds: "pink", "babble", or folders of sounds.
        say: hears what is being done.

    Raises:
        BadInput: no trial is complete, the method or its features cannot serve new sounds, or a
            folder of sounds cannot be used.
        StageFailed: a training failed.
    """
    source = source_of(folder, "selected", EVERY)
    sounds = named(kinds, Path(source.study.home))
    conditions = [(kind, snr) for kind in sounds for snr in snrs]
    bench = _Bench(source, tuple(trainings(source)), sounds)
    notes = bench.fill(conditions, say)
    return NoiseTest(tuple(NoiseLevel(*one, bench.rows(*one)) for one in conditions), notes)


@dataclass(frozen=True)
class _Bench:
    """The setting's trainings, and the noises that they are tried with."""

    source: Source
    trainings: tuple[tuple[FoldRow, list[Call]], ...]
    sounds: Mapping[str, tuple[Recording, ...]]
    """by kind of noise, what it is cut from, where that is a folder"""

    # -- what is heard -------------------------------------------------------------------------
    @cached_property
    def _recordings(self) -> list[Recording]:
        """The study's clips, by row."""
        table = self.source.inputs.corpus.table
        parts = table.get(PART, [""] * len(table))
        return [Recording(*one) for one in zip(table["audio"], table["path"], parts, strict=True)]

    @cached_property
    def _speakers(self) -> NDArray[np.str_]:
        return self.source.inputs.corpus.table["speaker"].to_numpy(dtype=str)

    def clips(self, fold: Fold, kind: str, snr: float) -> list[NoisyClip]:
        """The test clips of a fold with noise."""
        sources = self._sources[fold.index, kind]
        rows = fold.test.tolist()
        return [
            NoisyClip(self._recordings[row], kind, snr, sources[place])
            for place, row in enumerate(rows)
        ]

    @cached_property
    def _sources(self) -> dict[tuple[int, str], list[tuple[Recording, ...]]]:
        """By fold and kind, what the noise of each test clip is cut from."""
        return {
            (row.index, kind): self._chosen(self._fold(row), kind)
            for row, _ in self.trainings
            for kind in self.sounds
        }

    def _chosen(self, fold: Fold, kind: str) -> list[tuple[Recording, ...]]:
        digests = [self._recordings[row].digest for row in fold.test]
        sounds = self.sounds[kind]
        if sounds:
            return [
                (sounds[int(draws(digest, "sounds").integers(len(sounds)))],) for digest in digests
            ]
        if kind != BABBLE:
            return [()] * len(digests)
        heard = [self._recordings[row] for row in fold.train]
        talkers = Talkers(tuple(heard), tuple(self._speakers[fold.train].tolist()))
        who = self._speakers[fold.test].tolist()
        return [talkers.others(*one) for one in zip(digests, who, strict=True)]

    def _fold(self, row: FoldRow) -> Fold:
        return self.source.inputs.folds[row.index]

    def corpus(self, kind: str, snr: float) -> tuple[Corpus, dict[str, NoisyClip]]:
        """The test clips of all folds with noise, each once, as a corpus; and by digest.

        What is in its column `audio` is made when an extractor asks for it.
        """
        table = self.source.inputs.corpus.table
        by_digest: dict[str, NoisyClip] = {}
        rows: list[int] = []
        for fold in {row.index: self._fold(row) for row, _ in self.trainings}.values():
            for row, clip in zip(fold.test.tolist(), self.clips(fold, kind, snr), strict=True):
                if clip.digest not in by_digest:
                    by_digest[clip.digest] = clip
                    rows.append(row)
        noisy = table.iloc[rows].assign(audio=list(by_digest)).reset_index(drop=True)
        return Corpus(noisy, self.source.inputs.corpus.classes), by_digest

    # -- what is kept --------------------------------------------------------------------------
    def key(self, row: FoldRow, stages: Sequence[Call], kind: str, snr: float) -> str:
        """Under which the predictions of a training lie, made of all that they hang on."""
        fold = self._fold(row)
        table = self.source.inputs.corpus.table.iloc[fold.test]
        clips = zip(table["id"], self.clips(fold, kind, snr), table["transcript"], strict=True)
        facts = {
            "format": 1,
            "networks": network_keys(self.source, stages),
            "predictor": source_digest(self.source.method.graph.__module__),
            "handed_by": own_digest((*HANDED_BY, __name__)),
            "features": [info.identity for info in self._infos],
            "clips": [
                [name, *(info.address(clip.digest, text) for info in self._infos)]
                for name, clip, text in clips
            ],
            "speakers": self._speakers[fold.test].tolist() if self._by_speaker else "",
        }
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @cached_property
    def _infos(self) -> list[features.ExtractorInfo]:
        known = features.known()
        return [known[name] for name in self.source.study.features]

    @property
    def _by_speaker(self) -> bool:
        return self.source.study.normalise == "speaker"

    def rows(self, kind: str, snr: float) -> tuple[FoldRow, ...]:
        """The scores of each fold with a noise, of predictions that are kept."""
        by_fold: dict[int, list[NDArray[np.float32]]] = {}
        for row, stages in self.trainings:
            kept = self._kept(self.key(row, stages, kind, snr))
            assert kept is not None  # `fill` has put it there
            by_fold.setdefault(row.index, []).append(kept.arrays["test"])
        scorer, number = self.source.inputs.scorer(), self.source.trial.number
        return tuple(scorer.test_row(number, fold, each) for fold, each in by_fold.items())

    def _kept(self, key: str) -> Artifact | None:
        try:
            entry = self.source.store.get(key)
        except Damaged:
            return None
        return None if entry is None else entry[0]

    # -- what is computed ----------------------------------------------------------------------
    def fill(self, conditions: Sequence[_Noise], say: Say) -> tuple[str, ...]:
        """Compute the predictions that are not kept; what a reader must know of the networks."""
        keys = {
            (place, one): self.key(row, stages, *one)
            for place, (row, stages) in enumerate(self.trainings)
            for one in conditions
        }
        kept = {key: self._kept(key) for key in keys.values()}
        missing = {which: key for which, key in keys.items() if kept[key] is None}
        notes = [note for one in kept.values() if one is not None for note in one.info["notes"]]
        if missing:
            check_home(Path(self.source.study.home), writing=True)
            store = self.source.store
            with telling(store.place, lambda: store.trouble, say):
                notes += self._computed(missing, say)
        return tuple(dict.fromkeys(notes))

    def _computed(self, missing: Mapping[tuple[int, _Noise], str], say: Say) -> list[str]:
        """Predict and keep what is missing: by training and noise, under which key."""
        sounds = self._extracted(list(dict.fromkeys(noise for _, noise in missing)), say)
        data = self.source.inputs.dataset(run_chunks=features.local_chunks)
        places = list(dict.fromkeys(place for place, _ in missing))
        self._tell_of_trainings(places, say)
        executor = self.source.executor()
        notes: list[str] = []
        for place in places:
            row, stages = self.trainings[place]
            if not self._kept_networks(stages):
                say(f"training the network of {row.fold}")
            member = fold_member(self.source, executor, data, row, stages)
            notes += member.notes
            predict = self.source.exporter.predictor(member.state(data.classes))
            for (which, noise), key in missing.items():
                if which == place:
                    start = time.monotonic()
                    heard = sounds[noise].of(self.clips(self._fold(row), *noise))
                    p = _predicted(self._dataset(row, heard), predict, member)
                    facts = {"notes": list(member.notes)}
                    seconds = round(time.monotonic() - start, 4)
                    who = Provenance(self.source.study.id, _STAGE, seconds, made=time.time())
                    self.source.store.put(key, Artifact({"test": p}, facts), who)
        return notes

    def _tell_of_trainings(self, places: Sequence[int], say: Say) -> None:
        """Say which networks must be trained again, before it is done."""
        store, absent, seconds = self.source.store, 0, 0.0
        for _, stages in (self.trainings[place] for place in places):
            if not self._kept_networks(stages):
                absent += 1
                owner = store.provenance(stages[-1].key)
                seconds += 0.0 if owner is None else owner.seconds
        if absent:
            took = f", which took {seconds:.0f} s in the study" if seconds >= 1 else ""
            say(
                f"{absent} of {many(len(self.trainings), 'network')} of the folds are not kept: "
                f"they are trained again{took}, and kept"
            )

    def _kept_networks(self, stages: Sequence[Call]) -> bool:
        return all(map(self.source.store.has, network_keys(self.source, stages)))

    def _extracted(self, noises: Sequence[_Noise], say: Say) -> dict[_Noise, _Heard]:
        """The features of all test clips with each noise."""
        inputs = self.source.inputs
        names, folder = self.source.study.features, inputs.feature_folder
        corpora = {noise: self.corpus(*noise) for noise in noises}
        new = sum(
            len(corpus.table)
            for corpus, _ in corpora.values()
            if not features.stored(names, corpus, folder)
        )
        heard = {}
        with ExitStack() as stack:
            run: _Run = features.local_chunks
            if new:
                say(f"{new} clips with noise are heard: {', '.join(names)}")
            if new >= _MANY:
                from raysearch.cluster.connection import connection

                stack.enter_context(connection("local", ray_log(Path(self.source.study.home))))
                run = features.ray_chunks
            tell = _Progress(say, new)
            for noise, (corpus, clips) in corpora.items():
                sets = features.extract(
                    names,
                    corpus,
                    folder=folder,
                    run_chunks=partial(_with_noise, run, clips),
                    progress=tell,
                )
                x, frames, scaled = side_by_side(sets, len(corpus.table))
                rows = {digest: row for row, digest in enumerate(clips)}
                heard[noise] = _Heard(rows, x, frames, tuple(scaled))
        return heard

    def _dataset(self, row: FoldRow, heard: _Heard) -> Dataset:
        """The test clips of a fold as they are predicted: without labels."""
        rows, inputs = self._fold(row).test, self.source.inputs
        n = len(rows)
        return Dataset(
            ids=inputs.corpus.table["id"].to_numpy(dtype=str)[rows],
            x=heard.x,
            y=np.full(n, -1, dtype=np.int64),
            votes=None,
            speaker=np.unique(self._speakers[rows], return_inverse=True)[1],
            corpus=np.zeros(n, dtype=np.int64),
            classes=inputs.corpus.outputs,
            folds=(),
            normalise=self.source.study.normalise,
            frames=heard.frames,
            moments={name: Moments.of(heard.frames[name]) for name in heard.scaled},
        )


@dataclass(frozen=True)
class _Heard:
    """Features of clips with noise."""

    rows: Mapping[str, int]
    """by the digest of a clip"""
    x: NDArray[np.float32]
    frames: Mapping[str, Sequences]
    scaled: tuple[str, ...]
    """the feature sets of frames that are normalised"""

    def of(self, clips: Sequence[NoisyClip]) -> _Heard:
        """Those of some clips, in their order."""
        rows = np.array([self.rows[clip.digest] for clip in clips], dtype=np.int64)
        frames = {name: one.take(rows) for name, one in self.frames.items()}
        return _Heard(self.rows, self.x[rows], frames, self.scaled)


class _Progress:
    """How far the clips of all noises are, told now and then.

    Args:
        say: hears it.
        total: clips to be heard.
    """

    def __init__(self, say: Say, total: int) -> None:
        self._say, self._total = say, total
        self._before = self._last = 0
        self._next = time.monotonic() + _EVERY

    def __call__(self, done: int, of: int) -> None:
        """`done` clips of one noise are heard, of those that it has to hear."""
        if done < self._last:  # the next noise
            self._before += self._last
        self._last = done
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            self._say(f"{self._before + done} of {self._total} clips are heard")


def _predicted(data: Dataset, predict: Predict, member: Member) -> NDArray[np.float32]:
    """[n, K] of a fold's test clips, normalised as the study has it."""
    groups = [np.arange(len(data.ids))]
    if data.normalise == "speaker":
        groups = [np.flatnonzero(data.speaker == one) for one in np.unique(data.speaker)]
    p = np.empty((len(data.ids), len(data.classes)), dtype=np.float32)
    for rows in groups:
        by = statistics(data, rows) if data.normalise == "speaker" else member.statistics
        for first in range(0, len(rows), _AT_ONCE):
            some = rows[first : first + _AT_ONCE]
            p[some] = predict(normalised(data, some, by))
    return p


def _with_noise(
    run: _Run,
    clips: Mapping[str, NoisyClip],
    function: Callable[[Chunk], ChunkResult],
    chunks: Iterable[Chunk],
) -> Iterator[ChunkResult]:
    """Run chunks of clips whose sound is made here, with their noise."""
    return run(function, (_mixed(chunk, clips) for chunk in chunks))


def _mixed(chunk: Chunk, clips: Mapping[str, NoisyClip]) -> Chunk:
    """The chunk with the sound of its clips.

    Raises:
        BadInput: a clip, or what its noise is cut from, cannot be heard.
    """
    audio: list[bytes | None] = []
    for place, (name, digest) in enumerate(zip(chunk.clips, chunk.files, strict=True)):
        try:
            audio.append(clips[digest].sound() if chunk.needs_audio(place) else None)
        except (OSError, RuntimeError, ValueError) as error:  # soundfile's are RuntimeErrors
            raise BadInput(f"noise cannot be mixed to {name}: {error}") from error
    files = tuple(hashlib.sha256(data or b"").hexdigest() for data in audio)
    return replace(chunk, audio=tuple(audio), files=files, parts=())
