"""A model in use: what it refuses, what it asks for, and what it does with any audio."""

from __future__ import annotations

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from raysearch.data.features import known
from raysearch.errors import BadInput
from raysearch.models.model import FACTS, Model, Sound, _load_pyfunc, digest_of


def test_clips_do_not_depend_on_their_neighbours(model: Model, sounds: list[Sound]) -> None:
    together = model.hear(sounds).probabilities
    alone = np.concatenate([model.hear([sound]).probabilities for sound in sounds])
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_bad_files_are_told_and_others_are_predicted(model: Model, sounds: list[Sound]) -> None:
    good = sounds[0].data
    bad = {
        "empty.wav": (b"", "holds no sound"),
        "text.wav": (b"not audio at all", "is no audio that can be read"),
        "cut.wav": (good[: len(good) // 2], "is cut off"),
        "short.wav": (_wav(np.ones(200, np.float32) * 0.1, 16_000), "is too short"),
        "silent.wav": (_wav(np.zeros(16_000, np.float32), 16_000), "holds no sound"),
    }
    given = [*(Sound(name, data) for name, (data, _) in bad.items()), sounds[0]]
    heard = model.hear(given)
    assert sorted(heard.failures) == list(range(len(bad)))
    for place, (name, (_, told)) in enumerate(bad.items()):
        assert heard.failures[place].startswith(f"{name} {told}")
    assert np.isnan(heard.probabilities[:-1]).all()
    want = model.hear(sounds[:1]).probabilities[0]
    np.testing.assert_allclose(heard.probabilities[-1], want, atol=1e-6)


def _wav(samples: np.ndarray, rate: int, kind: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=kind)
    return file.getvalue()


def test_other_rates_and_channels_are_heard_as_corpora_hear_them(
    model: Model, sounds: list[Sound]
) -> None:
    from scipy.signal import resample_poly

    samples, rate = soundfile.read(io.BytesIO(sounds[0].data), dtype="float32")
    assert rate == 16_000
    fast = resample_poly(samples, 3, 1).astype(np.float32)
    stereo = np.stack([samples, samples], axis=1)
    given = [
        sounds[0],
        Sound("48 kHz", _wav(fast, 48_000, "FLOAT")),
        Sound("stereo", _wav(stereo, 16_000)),
    ]
    made = model.hear(given).probabilities
    np.testing.assert_allclose(made[2], made[0], atol=1e-6)
    np.testing.assert_allclose(made[1], made[0], atol=0.1)


def test_a_lone_clip_of_a_speaker_is_refused_with_the_number_needed(
    speaker_model: Model, sounds: list[Sound]
) -> None:
    assert speaker_model.needs == 4
    heard = speaker_model.hear(sounds[:1])
    (told,) = heard.failures.values()
    assert told.startswith(f"{sounds[0].name} cannot be judged alone")
    assert "needs 4 of them or more, of all emotions, but got 1 clip of the speaker s2" in told
    assert "UA in the study: 4 gave" in told
    other = [Sound(s.name, s.data, "s4") for s in sounds[3:6]]
    heard = speaker_model.hear([*sounds, *other])
    assert sorted(heard.failures) == [12, 13, 14]
    assert np.isfinite(heard.probabilities[:12]).all()


def test_a_speakers_clips_are_normalised_by_that_speaker_alone(
    speaker_model: Model, sounds: list[Sound]
) -> None:
    mixed = [Sound(s.name, s.data, "ab"[i % 2]) for i, s in enumerate(sounds)]
    made = speaker_model.hear(mixed).probabilities
    for who in (0, 1):
        alone = speaker_model.hear([Sound(s.name, s.data) for s in sounds[who::2]]).probabilities
        np.testing.assert_allclose(made[who::2], alone, atol=1e-6)
    assert np.abs(made - speaker_model.hear(sounds).probabilities).max() > 1e-4


# -- damage ----------------------------------------------------------------------------------------
@pytest.fixture
def copy(model: Model, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model.folder, tmp_path / "copy"))


@pytest.mark.parametrize("at", [0.02, 0.5, 0.999])
def test_a_flipped_byte_in_the_weights(copy: Path, sounds: list[Sound], at: float) -> None:
    path = copy / "member-0.safetensors"
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"is damaged: member-0\.safetensors.*copy it again"):
        Model(copy).hear(sounds)


def test_weights_that_are_gone(copy: Path, sounds: list[Sound]) -> None:
    (copy / "member-0.safetensors").unlink()
    with pytest.raises(BadInput, match=r"is damaged: member-0\.safetensors"):
        Model(copy).hear(sounds)


def edited(folder: Path, **changes: Any) -> None:
    facts = json.loads((folder / FACTS).read_text()) | changes
    facts.pop("digest")
    (folder / FACTS).write_text(json.dumps(facts | {"digest": digest_of(facts)}))


def test_facts_that_were_touched(copy: Path) -> None:
    path = copy / FACTS
    path.write_text(path.read_text().replace('"angry"', '"happy"'))
    with pytest.raises(BadInput, match=r"is damaged: model\.json: its digest"):
        Model(copy)
    path.write_text("{")
    with pytest.raises(BadInput, match=r"is damaged: model\.json"):
        Model(copy)


def test_another_format(copy: Path) -> None:
    edited(copy, format=99)
    with pytest.raises(BadInput, match="format 99"):
        Model(copy)


def test_an_extractor_of_another_version(copy: Path) -> None:
    facts = json.loads((copy / FACTS).read_text())
    edited(copy, features=[{**facts["features"][0], "version": "opensmile-0.1"}])
    with pytest.raises(BadInput, match=r"opensmile-0\.1 extracts it, but here it is opensmile-"):
        Model(copy)


def test_packages_that_are_missing(
    copy: Path, sounds: list[Sound], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Model(copy)
    with monkeypatch.context() as patch:
        patch.delattr("trainables.passes", raising=False)
        patch.setitem(sys.modules, "trainables.passes", None)  # as where torch is missing
        with pytest.raises(BadInput, match=r"not installed here: .*requirements\.txt"):
            whole.hear(sounds)
    info = known()["egemaps"]

    def absent() -> str:
        raise ModuleNotFoundError("openSMILE is not installed")

    monkeypatch.setattr(
        "raysearch.models.model.relocated", lambda *_: replace(info, version=absent)
    )
    with pytest.raises(BadInput, match=r"openSMILE is not installed; install what it asks"):
        Model(copy)


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no model of raysearch"):
        Model(tmp_path)


# -- names of classes ------------------------------------------------------------------------------
def test_one_class_is_named_unless_there_are_thresholds(copy: Path) -> None:
    rows = np.array([[0.5, 0.4, 0.1], [0.34, 0.33, 0.33]], np.float32)
    assert Model(copy).names(rows) == ["neutral", "neutral"]
    edited(copy, thresholds={"neutral": 0.45, "sad": 0.3, "angry": 0.2})
    # the likeliest class is named even where it is below its threshold
    assert Model(copy).names(rows) == ["neutral|sad", "neutral|sad|angry"]


# -- as MLflow calls it ----------------------------------------------------------------------------
def test_frames_of_bytes_and_of_paths(model: Model, sounds: list[Sound], tones: Path) -> None:
    served = _load_pyfunc(str(model.folder))
    by_bytes = served.predict(pd.DataFrame({"audio": [s.data for s in sounds]}))
    by_path = served.predict(pd.DataFrame({"path": [str(tones / s.name) for s in sounds]}))
    pd.testing.assert_frame_equal(by_bytes, by_path)
    assert list(by_bytes) == [*model.classes, "label"]
    want = model.hear(sounds).probabilities
    np.testing.assert_allclose(by_bytes[list(model.classes)], want, atol=1e-6)
    assert (by_bytes["label"] == [model.classes[i] for i in want.argmax(axis=1)]).all()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"speaker": "a"}, "row 0: give the bytes"),
        ({"audio": b"x", "path": "x"}, "row 0: give the bytes"),
        ({"path": "/nowhere.wav"}, r"row 0 \(/nowhere.wav\) cannot be read"),
        ({"audio": b"x"}, "row 0 is no audio"),
    ],
)
def test_rows_that_cannot_be_used(model: Model, row: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        _load_pyfunc(str(model.folder)).predict(pd.DataFrame([row]))
