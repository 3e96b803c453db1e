"""Continuous tasks: means and single ratings of a manifest's clips, and of simulated raters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysearch.data.corpora import load
from raysearch.data.rules import Task
from raysearch.errors import BadInput

VALENCE = Task.model_validate({"name": ["valence", "arousal"], "kind": "continuous"})


def _corpus(folder: Path, header: str, rows: list[str], task: Task = VALENCE):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        sound = 0.1 * rng.standard_normal(16000)
        soundfile.write(folder / f"{name}.wav", sound, 16000, subtype="PCM_16")
    (folder / "manifest.csv").write_text("\n".join([header, *rows, ""]))
    return load(
        ["manifest"],
        root={"manifest": str(folder)},
        classes=None,
        on_bad="stop",
        unlabelled=(),
        seed=0,
        home=folder / "home",
        options={},
        task=task,
    )


def test_the_mean_of_the_raters_is_what_is_predicted(tmp_path: Path) -> None:
    corpus = _corpus(
        tmp_path,
        "file,speaker,rater,valence,arousal",
        ["a.wav,s1,r1,2,4", "a.wav,s1,r2,3,5", "b.wav,s2,r1,1,1", "c.wav,s3,s3,5,5"],
    )
    assert corpus.outputs == ("valence", "activation")
    assert corpus.truth[:2].tolist() == [[2.5, 4.5], [1.0, 1.0]]
    # the speaker's own rating is none of the others', so that clip has no label
    assert corpus.labelled.tolist() == [True, True, False]
    assert corpus.annotations is not None
    assert corpus.annotations.shape == (3, 2, 2)
    assert np.isnan(corpus.annotations[1, 1]).all()


def test_columns_of_means_serve_without_raters(tmp_path: Path) -> None:
    rows = ["a.wav,s1,2.5,1", "b.wav,s2,4,2", "c.wav,s3,,3"]
    corpus = _corpus(tmp_path, "file,speaker,valence,arousal", rows)
    assert corpus.truth[:2].tolist() == [[2.5, 1.0], [4.0, 2.0]]
    assert corpus.labelled.tolist() == [True, True, False]
    other = _corpus(tmp_path, "file,speaker,valence,arousal", ["a.wav,s1,2.6,1", *rows[1:]])
    assert other.fingerprint != corpus.fingerprint


def test_what_is_no_number_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="valence 'high', which is no number"):
        _corpus(tmp_path, "file,speaker,valence,arousal", ["a.wav,s1,high,1", "b.wav,s2,4,2"])
    with pytest.raises(BadInput, match="needs ratings of activation, and manifest has none"):
        _corpus(tmp_path, "file,speaker,valence", ["a.wav,s1,3", "b.wav,s2,4"])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"kind": "continuous"}, "needs an attribute"),
        ({"name": ["valence", "dominance"]}, "set task.kind=continuous"),
        ({"name": ["valence", "valence"], "kind": "continuous"}, "must name different attributes"),
    ],
)
def test_values_that_do_not_go_together(task: dict[str, object], message: str) -> None:
    assert any(message in line for line in Task.model_validate(task).problems())


def test_levels_keep_the_identity_that_they_had() -> None:
    assert Task(name="valence").identity == {"name": "valence", "low": 3.0, "high": 3.0}
    assert "kind" in VALENCE.identity
