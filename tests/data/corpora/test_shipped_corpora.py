"""Every corpus that raysearch ships, on a small tree of its own format."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from raysearch.data import corpora
from raysearch.data.corpora import demo
from tests.contracts.corpora import CorpusCase, CorpusContract
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
        return CorpusCase(request.param, TREES[request.param](root), tmp_path / "home")


class TestDemoCorpora(CorpusContract):
    """Corpora that are spoken here."""

    @pytest.fixture(params=DEMOS)
    def case(self, request: pytest.FixtureRequest, spoken: Path, tmp_path: Path) -> CorpusCase:
        root = tmp_path / "speech" / "demo"
        shutil.copytree(spoken, root)
        return CorpusCase(request.param, root, tmp_path / "home")


def test_no_shipped_corpus_is_left_out() -> None:
    assert {*TREES, *DEMOS, *PARTS} == set(corpora.known())
