"""Stored layers: what the encoder gives, as many bytes as planned, read where they lie."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from raysearch.data.corpora import Corpus
from raysearch.data.features import check, extract, known, local_chunks, sizes
from raysearch.data.features.pretrained import models_of, relocated
from raysearch.errors import BadInput
from tests.contracts.extractors import corpus_of, noise
from tests.support.checkpoints import KINDS, checkpoint
from trainables.excerpts import Excerpts

pytestmark = pytest.mark.filterwarnings("default")  # torch's and transformers' own
LENGTHS = (1_600, 9_999, 40_000)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("encoders")
    return {kind: checkpoint(kind, place) for kind in KINDS}


def clips(folder: Path) -> Corpus:
    sounds = {name: noise(n, seed=n) for name, n in zip("abc", LENGTHS, strict=True)}
    corpus = corpus_of(folder, sounds)
    corpus.table["seconds"] = [n / 16_000 for n in LENGTHS]
    return corpus


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_bytes_are_stored_as_the_plan_says(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    corpus, name = clips(tmp_path), f"layers:{folders[kind]}@layers=1-2"
    (before,) = sizes([name], corpus, tmp_path / "f")
    (stored,) = extract([name], corpus, folder=tmp_path / "f", run_chunks=local_chunks)
    (after,) = sizes([name], corpus, tmp_path / "f")
    assert stored.matrix.dtype == np.float16
    assert stored.matrix.shape[1:] == (2, 32)
    assert stored.path.stat().st_size == stored.matrix.nbytes + 128  # numpy's header
    if kind == "wav2vec2_bert":  # its preprocessor alone knows
        assert "first clip tells" in before
        return
    info = known()[name]
    assert info.size is not None
    shape = info.size(corpus.table["seconds"].to_numpy())
    assert shape == stored.matrix.shape
    assert f"{shape[0]:,} × 2 × 32 values of float16" in before
    assert before.endswith("kB to store")
    assert after == before.replace("to store", "stored")


@pytest.mark.parametrize(
    ("choice", "numbers"), [("all", [0, 1, 2]), ("last", [2]), ("0+2", [0, 2])]
)
def test_they_are_what_the_encoder_gives(
    choice: str, numbers: list[int], folders: dict[str, Path]
) -> None:
    from trainables.networks.hearing import hearing, load_encoder

    samples = noise(9_000)
    value = known()[f"layers:{folders['hubert']}@layers={choice}"].extract(samples)
    encoder = hearing(*load_encoder(str(folders["hubert"]))).eval()
    with torch.no_grad():
        layers, _ = encoder(torch.tensor(samples)[None], torch.tensor([len(samples)]))
    reference = torch.stack([layers[n][0] for n in numbers], dim=1)
    np.testing.assert_allclose(value, reference, rtol=2e-3, atol=2e-3)


def test_a_clip_longer_than_whispers_window_is_heard_in_windows(folders: dict[str, Path]) -> None:
    extract_clip = known()[f"layers:{folders['whisper']}"].extract
    samples = noise(32_000 + 8_000)
    whole, first, rest = (extract_clip(s) for s in (samples, samples[:32_000], samples[32_000:]))
    assert np.array_equal(whole, np.concatenate([first, rest]))


def test_a_part_of_them_is_read_where_it_lies(tmp_path: Path) -> None:
    corpus = clips(tmp_path)
    (one,) = extract(["layers:tiny"], corpus, folder=tmp_path / "f", run_chunks=local_chunks)
    whole = one.rows(shared=True)
    tracemalloc.start()
    part = whole.take(np.array([2, 0]))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert isinstance(part, Excerpts)
    assert held < 20_000 < one.matrix.nbytes
    assert len(pickle.dumps(part)) < 3_000  # a worker is sent the file's path
    for row, clip in enumerate((2, 0)):
        assert np.array_equal(part[row], one.matrix[one.starts[clip] : one.starts[clip + 1]])
    again = pickle.loads(pickle.dumps(part)).take(np.array([1])).join(part)
    assert list(again.lengths) == [*part.lengths[[1]], *part.lengths]
    in_memory = one.rows(shared=False).take(np.array([2, 0]))
    assert np.array_equal(in_memory.values, part.values)


def test_other_weights_in_the_same_folder_are_another_version(tmp_path: Path) -> None:
    one = known()[f"layers:{checkpoint('hubert', tmp_path)}"].version()
    other = known()[f"layers:{checkpoint('hubert', tmp_path, seed=1)}"].version()
    assert one != other


def test_the_stand_in_says_so(tmp_path: Path) -> None:
    assert any("untrained weights" in note for note in check(["layers:tiny"], clips(tmp_path)))


@pytest.mark.parametrize("choice", ["13", "2-1", "x", "0+", "all+1"])
def test_layers_that_are_not_there_are_refused(choice: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"layer"):
        check([f"layers:tiny@layers={choice}"], clips(tmp_path))


def test_an_encoder_is_found_in_a_models_folder_that_is_named_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = known()[f"layers:{checkpoint('hubert', tmp_path)}"]
    (model,) = models_of(info)
    (tmp_path / "model").mkdir()
    (tmp_path / "hubert").rename(tmp_path / "model" / "hubert")
    monkeypatch.chdir(tmp_path)
    there = relocated(info, {model.name: Path("model/hubert")})
    assert there.version().startswith("hubert-")
    assert there.extract(noise(2_000)).shape[1:] == (3, 32)
