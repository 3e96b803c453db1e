"""Every corpus that raysearch ships, on a small tree of its own format."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysearch.data import corpora
from raysearch.data.corpora import demo
from raysearch.errors import BadInput
from tests.contracts.corpus_contract import CorpusCase, CorpusContract
from tests.support.trees import TREES

DEMOS = ("demo", "demo-plain")
PARTS = {"demo-studio", "demo-phone"}
"""of `demo`, which is read by the same lines"""


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoken")
    demo.make(folder, 0)
    return folder


class TestPublishedCorpora(CorpusContract):
    """Corpora that lie in a folder."""

    @pytest.fixture(params=TREES)
    def case(self, request: pytest.FixtureRequest, tmp_path: Path) -> CorpusCase:
        root = tmp_path / "speech" / request.param
        root.parent.mkdir()
        finds = request.param not in ("manifest", "audformat", "huggingface", "emobox")
        return CorpusCase(request.param, TREES[request.param](root), tmp_path / "home", finds)


class TestDemoCorpora(CorpusContract):
    """Corpora that are spoken here."""

    @pytest.fixture(params=DEMOS)
    def case(self, request: pytest.FixtureRequest, spoken: Path, tmp_path: Path) -> CorpusCase:
        root = tmp_path / "speech" / "demo"
        shutil.copytree(spoken, root)
        return CorpusCase(request.param, root, tmp_path / "home", finds=False)


def test_no_shipped_corpus_is_left_out() -> None:
    assert {*TREES, *DEMOS, *PARTS} == set(corpora.known())


def rows(case: CorpusCase) -> list[list[str]]:
    """The clips in an order of their own, without their place."""
    table = case.load().table.drop(columns=["path", "seconds"])
    return sorted(table.to_numpy().tolist())


@pytest.mark.parametrize(
    ("name", "folder", "other"),
    [
        ("emodb", "wav", "WAV"),
        ("ravdess", "Actor_01", "actor_01"),
        ("cremad", "AudioWAV", "audiowav"),
        ("cremad", "tabulatedVotes.csv", "processedResults/TabulatedVotes.csv"),
        ("msp_podcast", "Labels", "labels"),
        ("msp_podcast", "Audios", "audio"),
        ("iemocap", "Session1", "session1"),
    ],
)
def test_folders_are_known_in_other_letters(
    name: str, folder: str, other: str, tmp_path: Path
) -> None:
    case = CorpusCase(name, TREES[name](tmp_path / name), tmp_path / "home")
    first = rows(case)
    (case.root / other).parent.mkdir(exist_ok=True)
    (case.root / folder).rename(case.root / other)
    assert rows(case) == first


def test_casia_in_flat_names(tmp_path: Path) -> None:
    case = CorpusCase("casia", TREES["casia"](tmp_path / "casia"), tmp_path / "home")
    first = rows(case)
    for path in case.clips():
        speaker, emotion = path.parent.parent.name, path.parent.name
        flat = case.root / "flat" / emotion / f"{path.stem}-{emotion}-{speaker}.wav"
        flat.parent.mkdir(parents=True, exist_ok=True)
        path.rename(flat)
    assert rows(case) == first


def test_a_clip_that_is_bad_as_published_is_left_out_with_a_note(tmp_path: Path) -> None:
    case = CorpusCase("cremad", TREES["cremad"](tmp_path / "cremad"), tmp_path / "home")
    whole = case.load()
    (known_bad,) = case.info.bad
    silent = case.root / "AudioWAV" / f"{known_bad.removeprefix('cremad/')}.wav"
    soundfile.write(silent, np.zeros(16_000), 16_000)
    corpus = case.load()
    assert corpus.fingerprint == whole.fingerprint
    assert f"{known_bad} is left out: it is published without sound." in corpus.notes
    assert not case.check().errors
    # another release's, that can be heard
    soundfile.write(silent, np.random.default_rng(0).uniform(-0.1, 0.1, 16_000), 16_000)
    assert known_bad in set(case.load().table["id"])


@pytest.mark.parametrize(
    ("name", "file", "text", "words"),
    [
        ("cremad", "tabulatedVotes.csv", ",A,D,F,H,N,S,fileName\n200001,1,0,0,0,0,0,x\n", "start"),
        ("msp_podcast", "Labels/labels_detailed.csv", "FileName,Worker,Emo\na.wav,1,N\n", "WORKER"),
    ],
)
def test_a_file_of_votes_that_gives_none_stops(
    name: str, file: str, text: str, words: str, tmp_path: Path
) -> None:
    case = CorpusCase(name, TREES[name](tmp_path / name), tmp_path / "home")
    (case.root / file).write_text(text)
    with pytest.raises(BadInput, match=f"{file} holds no .*{words}"):
        case.load()
