"""Cluster files: every key, and all that can be wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysearch.errors import BadInput
from raysearch.study import load_study
from raysearch.study.clusterfile import ClusterFile, read_cluster


def cluster_file(folder: Path, text: str) -> str:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return str(path)


def test_every_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    found = read_cluster(
        cluster_file(
            tmp_path,
            "address: head.example:6379\ndashboard: https://head.example:8265\n"
            "token_file: token\nhome: /shared/runs\nstore: s3://bucket/x\n"
            'corpora: {emodb: /shared/emodb}\npip: [my-method]\nenv: {A_B: "1"}\n',
        )
    )
    assert found.address == "head.example:6379"
    assert found.token_file == tmp_path / "token"
    assert found.pip == ("my-method",)
    assert found.corpora == {"emodb": "/shared/emodb"}
    assert read_cluster("auto") == ClusterFile()


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    name = cluster_file(
        tmp_path,
        "adress: a:1\naddress: ray://head:10001\ndashboard: head:8265\ntoken_file: none\n"
        "home: runs\nstore: here\ncorpora: {emodb: emodb}\npip: numpy\nenv: {A: 1}\n",
    )
    with pytest.raises(BadInput) as caught:
        read_cluster(name)
    told = caught.value.problems
    assert len(told) == 9
    assert "did you mean 'address'" in told[0]
    for problem, key in zip(
        told[1:],
        ("address", "dashboard", "home", "store", "corpora", "pip", "env", "token_file"),
        strict=True,
    ):
        assert f"{name}: {key} " in problem
    assert "submit" in told[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n", "mapping"),
        ("a: [\n", "cannot be read"),
        ("env: !!python/object/apply:os.system ['touch pwned']\n", "cannot be read"),
    ],
)
def test_a_file_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=told):
        read_cluster(cluster_file(tmp_path, text))
    assert not (tmp_path / "pwned").exists()


def test_the_store_of_the_file_is_the_studys_unless_it_has_one(tmp_path: Path) -> None:
    cluster_file(tmp_path, "store: s3://bucket/x\n")
    words = ["space=rdlr", "cluster=cluster.yaml"]
    assert load_study(words, cwd=tmp_path).store == "s3://bucket/x"
    assert load_study([*words, "store=mine"], cwd=tmp_path).store == str(tmp_path / "mine")
    alone = load_study(["space=rdlr"], cwd=tmp_path)
    assert load_study(words, cwd=tmp_path).id == alone.id, "the cluster is no part of identity"


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN"])
def test_a_login_in_a_cluster_file_is_refused(tmp_path: Path, name: str) -> None:
    path = cluster_file(tmp_path, f"env: {{{name}: abc, AWS_ENDPOINT_URL: 'http://x:1'}}\n")
    with pytest.raises(BadInput, match=f"names {name}, which Ray would write into its logs") as one:
        read_cluster(path)
    assert "abc" not in str(one.value)
    assert len(one.value.problems) == 1
