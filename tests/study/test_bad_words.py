"""Bad input: every problem at once, each naming the thing, its value and the remedy."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from raysearch.errors import BadInput
from raysearch.study import load_study
from trainables.stage import Method, Param

SPACE = """\
method: fake_bad:METHOD
params:
  lr: {float: [1.0e-4, 0.1], log: true}
  kind: {choice: [hard, soft]}
  alpha: {grid: [0, 0.1, 0.2], when: {kind: soft}}
  layers: 2
"""


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = types.ModuleType("fake_bad")
    module.METHOD = Method(  # type: ignore[attr-defined]
        name="fake",
        summary="for tests",
        params={
            "lr": Param(1e-3, "step size", low=1e-7, high=1.0),
            "kind": Param("hard", "labels", ("hard", "soft", "both")),
            "alpha": Param(0.1, "share", low=0.0, high=1.0),
            "layers": Param(3, "layers", low=1, high=9),
        },
        graph=lambda setting: (),
    )
    monkeypatch.setitem(sys.modules, "fake_bad", module)
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "mine.yaml").write_text(SPACE)
    return tmp_path


@pytest.fixture
def problems(cwd: Path) -> Callable[..., list[str]]:
    def told(*words: str) -> list[str]:
        chosen = [] if any(word.startswith("space=") for word in words) else ["space=mine"]
        with pytest.raises(BadInput) as caught:
            load_study([*chosen, *words], cwd=cwd)
        for problem in caught.value.problems:
            assert "pydantic" not in problem.lower()
            assert "omegaconf" not in problem.lower()
            assert "\n" not in problem
            assert not re.search(r"Input should|type=|validation error|object_type", problem)
        return list(caught.value.problems)

    return told


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("trials", ["'trials'", "no '='", "key=value"]),
        ("=3", ["'=3'", "key=value"]),
        ("a..b=3", ["'a..b=3'", "key"]),
        ("params={lr: [", ["params", "not YAML", "quote"]),
        ("trails=3", ["'trails'", "did you mean 'trials'", "keys here are"]),
        ("protocol.fold=3", ["'protocol.fold'", "did you mean 'protocol.folds'"]),
        ("classes=[a,b]", ["'classes'", "did you mean 'corpus.classes'"]),
        ("trials=0", ["trials must be a whole number of at least 1", "got 0", "trials=30"]),
        ("trials=many", ["trials must be a whole number", "got 'many'"]),
        ("trials=2.5", ["trials must be a whole number", "got 2.5"]),
        ("trials=true", ["trials must be a whole number", "got True"]),
        ("quiet=1", ["quiet must be true or false", "got 1"]),
        ("cpus=0", ["cpus must be a number above 0", "got 0"]),
        ("cpus=.inf", ["cpus must be a number above 0", "got inf"]),
        ("seed=-1", ["seed must be", "at least 0", "got -1"]),
        ("home=", ["home must be a folder", "got None"]),
        ("protocol=loo", ["protocol.name must be one of loso, loseso, loco, kfold", "'loo'"]),
        ("validation.share=0.7", ["validation.share", "at most 0.5", "0.7"]),
        ("protocol.folds=1", ["protocol.folds", "at least 2", "got 1"]),
        ("sampler=tpr", ["sampler must be one of tpe, random, grid, listed", "'tpr'"]),
        ("cluster=head:6379", ["head:6379", "there is no such file", "local, auto"]),
        ("racing=on", ["racing must be one of off, mixed, wilcoxon"]),
        ("corpus=emobd", ["'emobd'", "did you mean 'emodb'", "known corpora: demo"]),
        ("corpus.unlabelled=librivox", ["corpus.unlabelled", "'librivox'"]),
        ("corpus.name={x: 3}", ["corpus.name must be a corpus or a list", "{'x': '3'}"]),
        ("corpus=[demo,demo]", ["corpus.name lists demo twice"]),
        ("corpus.classes=[sad]", ["corpus.classes", "two or more", "['sad']"]),
        ("corpus.classes=[sad,sad]", ["corpus.classes lists sad twice"]),
        ("corpus=emodb", ["'emodb' needs its folder", "corpus.root=DIR"]),
        ("corpus.root.emodb=/x", ["corpus.root.emodb", "does not use"]),
        ("corpus.options.csv=x", ["corpus.options.csv", "no option of demo"]),
        ("features=is9x", ["'is9x'", "known feature sets: is10"]),
        ("features=egemap", ["did you mean 'egemaps'"]),
        ("method=rdlrr", ["'rdlrr'", "did you mean 'rdlr'", "module:ATTRIBUTE"]),
        ("space=mne", ["'mne'", "did you mean 'mine'", "known spaces: ", "mine, "]),
        ("space=none.yaml", ["space=none.yaml", "no such file"]),
        ("alpha=0.1", ["no key 'alpha'", "did you mean 'params.alpha'"]),
        ("params.gama=3", ["'gama'", "it has lr, kind, alpha, layers"]),
        (
            "params.augment_mixup=1",
            ["'augment_mixup' (it is one of attributes, corater", "it has lr"],
        ),
        ("params.layer=3", ["'layer'", "did you mean 'layers'"]),
        ("params.lr=5", ["params.lr must be at most 1", "got 5", "step size"]),
        ("params.kind=hrd", ["params.kind must be one of ['hard', 'soft', 'both']", "'hrd'"]),
        ("params.lr=[1,2]", ["params.lr is a list", "{choice: [1, 2]}"]),
        (
            "params.layers.high=3",
            ["params.layers.high cannot be set", "params.layers is one value"],
        ),
        ("params.alpha={grid: [0], when: {knd: soft}}", ["params.alpha.when names 'knd'", "kind"]),
        ("params.alpha={grid: [0], when: {kind: sfot}}", ["params.alpha.when", "'sfot'"]),
        ("sampler=grid", ["sampler=grid needs a finite space", "lr", "step"]),
        ("sampler=listed", ["sampler=listed", "enqueue lists none"]),
        ("enqueue=[{kind: both}]", ["enqueue, entry 1 is not in the space", "hard, soft", "both"]),
        ("enqueue=[{gamma: 1}]", ["enqueue, entry 1", "no parameter 'gamma'"]),
        ("enqueue=[{kind: hard, alpha: 0.1}]", ["alpha exists only where kind is soft"]),
        ("enqueue=[3]", ["enqueue must be a list of settings", "got [3]"]),
        ("enqueue=[{_name: a, kind: hard},{_name: a, kind: soft}]", ["two settings 'a'"]),
        ("enqueue=7", ["enqueue must be a list of settings", "got 7"]),
        ("description=${nope}", ["description", "cannot be resolved", "nope"]),
        ("description=???", ["description must be given", "description=VALUE"]),
        ("params=3", ["params must be a mapping", "got 3"]),
        ("notes={a: 1}", ["notes must be"]),
        ("published=3", ["published must be a mapping with source and corpora", "got 3"]),
        (
            "published={source: x, metric: ua, corpora: {}}",
            ["no key 'published.metric'", "each row names its metrics", "{wa: 0.452, ua: 0.431}"],
        ),
        (
            "published={source: x, corpora: {c: {row: {}}}}",
            ["no key 'published.corpora.c.row'", "did you mean 'rows'"],
        ),
        ("published={source: x, rows: {a: {ua: 0.4}}}", ["no key 'published.rows'", "corpora"]),
        ("published={source: x, corpora: {c: 3}}", ["published.corpora.c must be a mapping"]),
        (
            "published={corpora: {c: {rows: {a: {ua: 0.4}}}}}",
            ["published.source must say which table", "None"],
        ),
        ("published={source: x}", ["published.corpora must give the figures of each", "None"]),
        (
            "published={source: x, corpora: {c: {rows: {a: {ua: 0}}, "
            "tasks: {valence: {a: {ua: 0}}}}}}",
            ["published.corpora.c must have rows, or tasks", "not both"],
        ),
        (
            "published={source: x, corpora: {c: {rows: {}}}}",
            ["published.corpora.c.rows must be a mapping", "got {}"],
        ),
        (
            "published={source: x, corpora: {c: {rows: {a: {}}}}}",
            ["the row 'a' must give figures", "got {}"],
        ),
        (
            "published={source: x, corpora: {c: {rows: {a: 0.4}}}}",
            ["the row 'a' must give figures", "got 0.4"],
        ),
        (
            "published={source: x, corpora: {c: {rows: {a: {ua: 0.4}, b: {uaa: 0.4}}}}}",
            ["the row 'b' names a metric 'uaa'", "did you mean 'ua'", "ua or wa"],
        ),
        (
            "published={source: x, corpora: {c: {rows: {a: {ua: 0.4, raters: {E1: 44}}}}}}",
            ["the row 'a' must give raters as in raters: {E1: 0.44, E2: 0.42}", "{'E1': 44}"],
        ),
        (
            "published={source: x, corpora: {c: {rows: {a: {recall_: 0.4}}}}}",
            ["the row 'a' names a metric 'recall_'", "the recall of a class as in recall_sad"],
        ),
        (
            "published={source: x, corpora: {c: {rows: {a: {wa: 43.1}}}}}",
            ["the row 'a' must give wa as a fraction from 0 to 1", "got 43.1"],
        ),
        (
            "published={source: x, corpora: {c: {rows: {a: {wa: -0.1}}}}}",
            ["fraction from 0 to 1", "got -0.1"],
        ),
        (
            "published={source: x, corpora: {c: {rows: {a: {wa: .nan}}}}}",
            ["fraction from 0 to 1", "got nan"],
        ),
        (
            "published={source: x, corpora: {c: {rows: {a: {wa: true}}}}}",
            ["fraction from 0 to 1", "got True"],
        ),
        (
            "published={source: x, corpora: {c: {rows: {a: {wa: null}}}}}",
            ["fraction from 0 to 1", "got None"],
        ),
        (
            "published={source: x, corpora: {c: {rows: "
            "{a: {wa: 43, ua: 41}, b: {wa: 44}, c: {wa: 45}}}}}",
            ["the row 'a' must give wa", "got 43 (and so with 2 more rows)"],
        ),
        (
            "published={source: x, corpora: {c: {tasks: {valance: {a: {ua: 0.4}}}}}}",
            ["published.corpora.c.tasks: there is no task 'valance'", "did you mean 'valence'"],
        ),
        (
            "published={source: x, corpora: {c: {tasks: {valence: {a: {ua: 4}}}}}}",
            ["published.corpora.c.tasks.valence: the row 'a' must give ua", "got 4"],
        ),
        (
            "published={source: x, corpora: {c: {tasks: [a]}}}",
            ["published.corpora.c.tasks must be the rows of each task"],
        ),
    ],
)
def test_a_bad_word(problems: Callable[..., list[str]], word: str, parts: list[str]) -> None:
    told = problems(word)
    assert len(told) == 1, told
    for part in parts:
        assert part in told[0]


def test_words_that_contradict(problems: Callable[..., list[str]]) -> None:
    assert problems("seed=1", "seed=2") == ["seed is given twice in the words; give it once"]
    (told,) = problems("corpus=demo", "corpus.name=demo")
    assert "corpus.name is given twice" in told
    assert any(
        "params.lr is given as a whole by one word, and params.lr.step inside" in problem
        for problem in problems("params.lr=0.1", "params.lr.step=0.1")
    )


def test_one_root_for_two_corpora(problems: Callable[..., list[str]]) -> None:
    told = problems("corpus=[emodb,ravdess]", "corpus.root=/x")
    assert "write corpus.root.emodb=DIR corpus.root.ravdess=DIR" in told[0]


def test_all_problems_are_told_at_once(problems: Callable[..., list[str]]) -> None:
    told = problems(
        "trails=3",
        "trials=0",
        "foo",
        "corpus=emobd",
        "features=is9x",
        "protocol=loo",
        "params.lr=7",
        "params.layer=2",
        "params.alpha={grid: [0], when: {knd: soft}}",
    )
    assert len(told) == 9
    assert len(set(told)) == 9


def test_a_missing_space_does_not_hide_the_rest(problems: Callable[..., list[str]]) -> None:
    told = problems("space=none", "trials=0", "x.y=1")
    assert [any(part in problem for problem in told) for part in ("'none'", "trials", "'x'")] == [
        True
    ] * 3
    assert not any("method" in problem.split()[0] for problem in told)


def test_no_space_at_all(cwd: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_study([], cwd=cwd)
    (told,) = caught.value.problems
    assert told.startswith("space must be given, as in space=rdlr; known spaces: ")
    assert ", mine, " in told


def test_conditions_in_a_circle(problems: Callable[..., list[str]]) -> None:
    (told,) = problems(
        "params.kind={choice: [hard, soft], when: {alpha: 0.1}}",
        "params.alpha={grid: [0, 0.1], when: {kind: soft}}",
    )
    assert "form a cycle" in told
    assert "kind -> alpha -> kind" in told


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("method: [", ["cannot be read", "line"]),
        ("trials: 3\ntrials: 4\n", ["cannot be read", "duplicate key"]),
        ("- 1\n", ["must be a mapping"]),
        ("params: {}\n", ["method must be given"]),
        ("method: fake_bad:METHOD\ntrails: 3\n", ["'trails'", "did you mean 'trials'"]),
        ("method: fake_bad:METHOD\ncorpus: {nme: x}\n", ["'corpus.nme'", "'corpus.name'"]),
        ("method: fake_bad:METHOD\nenqueue: [{lr: 0.1}]\n", ["it sets lr", "add it to params"]),
        ("method: !!python/object/apply:os.system [x]\n", ["cannot be read"]),
    ],
)
def test_a_bad_file(cwd: Path, text: str, parts: list[str]) -> None:
    (cwd / "bad.yaml").write_text(text)
    with pytest.raises(BadInput) as caught:
        load_study(["space=bad.yaml"], cwd=cwd)
    (told,) = caught.value.problems
    for part in parts:
        assert part in told


def test_a_file_that_is_no_text(cwd: Path) -> None:
    (cwd / "bad.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(BadInput, match="cannot be read"):
        load_study(["space=bad.yaml"], cwd=cwd)
