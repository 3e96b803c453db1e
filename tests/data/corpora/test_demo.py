"""The demo corpus: same bytes for the same seed, votes that follow ambiguity, its three parts."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raysearch.data import corpora
from raysearch.data.corpora import demo
from raysearch.errors import RaysearchError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def corpus(home: Path) -> corpora.Corpus:
    return load(["demo"], home)


def load(names: list[str], home: Path, unlabelled: tuple[str, ...] = ()) -> corpora.Corpus:
    return corpora.load(
        names,
        root={},
        classes=None,
        on_bad="stop",
        unlabelled=unlabelled,
        seed=7,
        home=home,
        options={},
    )


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


def test_has_the_parts_it_promises(corpus: corpora.Corpus) -> None:
    table = corpus.table
    labelled = table[corpus.labelled]
    assert corpus.classes == ("neutral", "happy", "sad", "angry")
    assert set(table["corpus"]) == {"demo-studio", "demo-phone", "demo-plain"}
    assert labelled["speaker"].nunique() == 10
    assert set(labelled["label"].value_counts()) == {len(demo.SENTENCES) * 10}
    assert (table["corpus"][~corpus.labelled] == "demo-plain").all()
    assert corpus.labelled[: len(labelled)].all(), "unlabelled rows must come last"
    assert table["audio"].is_unique
    assert table["id"].is_unique
    assert labelled["session"].nunique() == 6
    assert corpus.simulated == {"speech", "votes"}
    assert any("synthetic" in note for note in corpus.notes)
    assert any("simulated" in note for note in corpus.notes)


def test_no_speaker_is_in_two_parts(corpus: corpora.Corpus) -> None:
    voices = [voice for condition in demo.CONDITIONS for voice in condition.voices]
    assert len(set(voices)) == len(voices)
    assert (corpus.table.groupby("speaker")["corpus"].nunique() == 1).all()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_in_another_process(
    corpus: corpora.Corpus, home: Path, tmp_path: Path
) -> None:
    code = "import sys; from pathlib import Path; from raysearch.data.corpora import demo; "
    code += "demo.make(Path(sys.argv[1]), 7)"
    run = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    name = f"demo-{demo.VERSION}-7"
    assert digest(tmp_path / name) == digest(home / "corpora" / name)
    assert [p.name for p in tmp_path.iterdir()] == [name], "nothing half-made is left"


def test_raters_disagree_more_where_the_prosody_lies_between_emotions() -> None:
    rng = np.random.default_rng(0)
    biases = np.zeros((demo.RATERS, 4))
    clear = [v for _ in range(60) for _, v in demo._votes(demo.MEANS[3], biases, rng)]
    between = demo.MEANS[[1, 3]].mean(axis=0)
    mixed = [v for _ in range(60) for _, v in demo._votes(between, biases, rng)]
    assert clear.count("angry") / len(clear) > 0.75
    assert 0.25 < mixed.count("angry") / len(mixed) < 0.6


def test_votes_count_the_ratings_and_are_partly_divided(corpus: corpora.Corpus) -> None:
    assert corpus.votes is not None
    assert corpus.ratings is not None
    assert corpus.votes.dtype == np.float32
    labelled = corpus.votes[corpus.labelled]
    assert (labelled.sum(axis=1) == demo.HEARD_BY).all()
    assert not corpus.votes[~corpus.labelled].any()
    assert not corpus.votes[~corpus.labelled].any()
    assert len(corpus.ratings) == labelled.sum()
    agreed = corpora.vote_partition(labelled)
    assert 0.2 < agreed.unanimous / len(labelled) < 0.8
    # enough clips without a leading class that label correction has something to correct
    assert 0.05 < agreed.tie / len(labelled) < 0.2
    leading = corpora.plurality(labelled)
    assert (leading == corpus.codes[corpus.labelled]).mean() > 0.85


def test_parts_load_singly_and_as_unlabelled(home: Path, corpus: corpora.Corpus) -> None:
    studio = load(["demo-studio"], home, unlabelled=("demo-phone",))
    assert set(studio.table["corpus"][studio.labelled]) == {"demo-studio"}
    assert set(studio.table["corpus"][~studio.labelled]) == {"demo-phone"}
    assert studio.votes is not None
    assert not studio.votes[~studio.labelled].any()
    both = load(["demo-studio", "demo-phone"], home)
    assert set(both.table["id"]) == set(corpus.table["id"][corpus.labelled])


def test_other_seeds_sound_different() -> None:
    lines = [["Hello there.", "en-us+m1", 160, 50, 50, 90]]
    again, other = demo._speak(lines)[0], demo._speak([[*lines[0][:2], 200, 50, 50, 90]])[0]
    assert np.array_equal(demo._speak(lines)[0], again)
    assert len(other) < len(again)


def test_no_voice_has_the_attribute_that_speaks_at_random() -> None:
    import espeakng_loader

    voices = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    for condition in demo.CONDITIONS:
        for voice in condition.voices:
            lines = (voices / voice.partition("+")[2]).read_text(errors="replace").splitlines()
            assert not [line for line in lines if line.startswith("breath")], voice


def test_a_voice_that_is_not_there_is_named() -> None:
    with pytest.raises(RaysearchError, match="nobody-speaks-this"):
        demo._speak([["Hello.", "nobody-speaks-this", 160, 50, 50, 90]])
