"""The same features from Ray's workers as from here, without the workers seeing the corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raysearch.data import corpora
from raysearch.data.features import extract, local_chunks, ray_chunks


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_ray_gives_the_same_numbers(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    corpus = corpora.load(
        ["demo-studio"],
        root={},
        classes=None,
        on_bad="stop",
        unlabelled=(),
        seed=0,
        home=tmp_path,
        options={},
    )
    corpus = replace(corpus, table=corpus.table.iloc[:40])
    names = ["egemaps", "wave", "logmel40", "wav2vec2-frames:tiny", "bert:tiny"]
    here = extract(names, corpus, folder=tmp_path / "a", run_chunks=local_chunks)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        there = extract(names, corpus, folder=tmp_path / "b", run_chunks=ray_chunks)
    finally:
        ray.shutdown()
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one.matrix, other.matrix), one.name
        assert (one.starts is None) == (other.starts is None)
        if one.starts is not None:
            assert np.array_equal(one.starts, other.starts)
