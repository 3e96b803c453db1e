"""Every paper's `paper.yaml` from its corpus's files to the report, unchanged but for size.

The trees are of the corpora's own formats (`tests.support.paper_corpora`), so whoever has the
corpora and the encoders' weights runs the same command. At full size nothing is trained: `plan`
counts. Then a few settings run, with small networks and one epoch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from raysearch.report import build, to_text
from raysearch.study import load_study
from raysearch.study.folder import StudyFolder
from raysearch.study.record import Record
from raysearch.tuning.plan import plan
from raysearch.tuning.prepare import prepare
from tests.support.paper_corpora import TREES
from tests.support.whole_study import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class DryRun:
    """A paper's search on small trees of its corpora."""

    corpora: tuple[str, ...]
    clips: dict[str, int]
    """by class, that are learnt; by target rater, where one rater's perception is"""
    folds: int
    settings: int
    """of the paper's whole search"""
    stages: dict[str, int]
    """of the paper's whole search"""
    small: tuple[str, ...]
    """the words that change its size"""
    trials: int
    ran: dict[str, int]
    """stages of the small run"""
    published: tuple[float, ...]
    """figures of the paper that the report shows, as fractions"""
    needs: tuple[str, ...] = ()
    """words without which the space does not run: weights that have no official place"""
    notes: tuple[str, ...] = field(default=())
    """of what the report warns"""


FOUR = {"angry": 23, "happy": 33, "sad": 22, "neutral": 35}
"""a fiftieth of the release's 1103, 595 + 1041, 1084 and 1708, each rounded up"""

PAPERS = {
    "label_correction": DryRun(
        corpora=("iemocap",),
        clips=FOUR,
        folds=10,
        settings=32,
        stages={"teacher": 10, "student": 320},
        small=("params.ssl=tiny", "params.epochs=1", "params.teacher_epochs=1"),
        trials=3,  # the first two have lambda 0, and no teacher
        ran={"teacher": 10, "student": 30},
        published=(0.724, 0.731),
        notes=("untrained",),
    ),
    "emoboost": DryRun(
        corpora=("iemocap",),
        clips=FOUR,
        folds=10,
        settings=12,
        stages={"fit": 120},
        needs=("params.alexnet=random",),
        small=("params.ssl=tiny", "params.width=0.0625", "params.epochs=1"),
        trials=1,
        ran={"fit": 10},
        published=(0.7210, 0.7291),
        notes=("untrained",),
    ),
    "rdlr": DryRun(
        corpora=("cremad", "iemocap", "msp_improv", "msp_podcast", "librispeech"),
        clips={"angry": 67, "happy": 77, "sad": 66, "neutral": 79},
        folds=4,
        settings=336,  # of 1008: so few clips are one batch of 1024, 2048 or 4096
        stages={"pretrained": 4, "student": 1344},
        small=("params.width=0.0625", "params.pretrained_width=0.0625"),
        trials=2,
        ran={"pretrained": 4, "student": 8},
        published=(0.484,),
    ),
    "self_learning": DryRun(
        corpora=("emodb",),
        clips=dict.fromkeys(
            ("angry", "bored", "disgust", "fearful", "happy", "sad", "neutral"), 10
        ),
        folds=10,
        settings=13,
        stages={"iteration_0": 10, "iteration_1": 120, "utterance": 130},
        small=("params.epochs=1", "params.hop=20", "params.width=0.0625", "params.trees=5"),
        trials=1,
        ran={"iteration_0": 10, "iteration_1": 10, "utterance": 10},
        published=(0.9290, 0.9302),
        notes=("reach training",),
    ),
    "corater": DryRun(
        corpora=("iemocap",),
        clips=dict.fromkeys(("A-E1", "A-E2", "A-E3", "A-E4"), 207),
        folds=20,
        settings=10,
        stages={"others_h": 20, "others_s": 20, "rater": 40, "fusion": 120},
        small=("params.epochs=1", "params.fusion_epochs=1", "params.width=0.0625"),
        trials=1,
        ran={"rater": 20},
        published=(0.5295,),
    ),
}


@pytest.fixture(scope="module", params=PAPERS)
def paper(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def words(paper: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp(paper)
    names = PAPERS[paper].corpora
    roots = {name: TREES[name](folder / name) for name in names}
    key = "corpus.root" if len(names) == 1 else "corpus.root.{}"
    each = [f"{key.format(name)}={root}" for name, root in roots.items()]
    return [f"space={paper}/paper", *each, *PAPERS[paper].needs, f"home={folder}/home"]


def test_at_full_size_it_is_the_papers_search(paper: str, words: list[str]) -> None:
    dry = PAPERS[paper]
    study = load_study(words, cwd=Path.cwd())
    inputs = prepare(study)
    if inputs.ratings is None:
        labels = inputs.corpus.table["label"].value_counts().to_dict()
        labels.pop("", None)
        assert labels == dry.clips
    else:
        counts = inputs.ratings.counts()
        assert {fold.rater: counts[fold.rater] for fold in inputs.folds} == dry.clips
    assert len(inputs.folds) == dry.folds
    whole = plan(study)
    assert whole.new == dry.settings
    stages = {name: count for name, count in whole.stages.items() if count}
    if whole.sampled:  # scaled up from the first settings: what all share is counted too often
        stages["pretrained"] = dry.stages["pretrained"]
    assert stages == dry.stages


def test_a_small_one_runs_to_its_report(paper: str, words: list[str], tmp_path: Path) -> None:
    dry = PAPERS[paper]
    path = run(tmp_path, *words[:-1], *dry.small, trials=dry.trials)
    record = Record.read(StudyFolder(path))
    report = build(record)
    assert report.states["complete"] == dry.trials
    assert len(report.folds) == dry.folds
    stages = {use.key: use.name for row in record.fold_rows for use in row.stages}
    assert Counter(stages.values()) == dry.ran
    table = report.section("published").table
    assert table is not None
    assert set(table.frame["published"].dropna()) >= set(dry.published)
    assert table.frame["here"].notna().any()
    text = " ".join(to_text(report).split())
    for note in dry.notes:
        assert note in text
