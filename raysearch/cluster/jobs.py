"""Studies as Ray jobs: sent to a cluster, followed and ended from elsewhere, by Ray's Jobs API.

The driver of a submitted study runs on the cluster's head, in a working directory that holds
raysearch, the method's code, the study as one file, and speech that is not on the cluster yet.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from raysearch.cluster.code_copy import copy_code, copy_corpus, modules_of
from raysearch.cluster.connection import environment, jobs_client
from raysearch.errors import BadInput, ClusterFailed, near, one_line, without_passwords
from raysearch.stages.temporary import temporary_folder
from raysearch.study import Study, dump, load_study
from raysearch.study.clusterfile import ClusterFile, read_cluster
from raysearch.study.folder import CONFIGURATION
from raysearch.study.plain_text import plain_text

_STOP_SECONDS = 120
"""seconds that a job may take to close its study when it is stopped"""
_AGENT_SECONDS = 60
"""seconds that a head may take to be ready for jobs"""
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_SERVERS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""variables that say where a store is, and let nobody in: they travel with a job"""
_OURS = "raysearch_study"
"""the metadata key by which our jobs are known"""


def submit(words: Sequence[str], cwd: Path) -> str:
    """Send a study to its cluster as a job.

    Args:
        words: `key=value`, as for tune.
        cwd: the folder that relative paths start from.

    Returns:
        The job's name, and the commands that follow and end it.

    Raises:
        BadInput: where the study, the cluster file or a folder is wrong; nothing was sent.
        ClusterFailed: where the cluster cannot be reached or refuses the job.
    """
    study = load_study(words, cwd=cwd)
    if study.cluster == "local":
        raise BadInput(
            "submit sends a study to a running cluster, but cluster=local; give cluster=auto or "
            "cluster=FILE, or run it here with tune"
        )
    place = read_cluster(study.cluster)
    problems: list[str] = []
    home = _home(words, study, place, problems)
    _check_store(words, problems)
    if problems:
        raise BadInput(problems)
    with temporary_folder("raysearch-job-") as folder:
        copy_code(folder, modules_of(study), without=[Path(study.home)])
        (folder / CONFIGURATION).write_text(dump(_over_there(study, place, home, folder)))
        job = _send(folder, study, place, home)
    login = (
        f"\nlogin:  {without_passwords(str(study.store))} is opened with the login that the "
        "cluster's head has (a role of the machine, ~/.aws/credentials, variables where ray start "
        "ran); one of this machine does not travel"
        if study.store is not None and "://" in str(study.store)
        else ""
    )
    where = f" cluster={shlex.quote(study.cluster)}" if study.cluster != "auto" else ""
    return (
        f"job {job}: study {study.id}, its home on the cluster is {home}\n"
        f"follow: python -m raysearch status job={job}{where}\n"
        f"end:    python -m raysearch stop job={job}{where}   (the same submit goes on later)"
        f"{login}"
    )


def _send(folder: Path, study: Study, place: ClusterFile, home: str) -> str:
    """Submit `folder` as a job; a head that has only just started has no agent for it yet."""
    client = jobs_client(place)
    env = environment(place)
    # read by the process that ends the job; Ray's own 3 seconds would kill the driver
    env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] = str(_STOP_SECONDS)
    for name in _SERVERS if study.store is not None and "://" in str(study.store) else ():
        if name in os.environ:
            env["env_vars"].setdefault(name, os.environ[name])
    job = {
        "entrypoint": f"exec python -m raysearch tune space={CONFIGURATION}",
        "submission_id": f"{study.id}-{secrets.token_hex(3)}",
        "runtime_env": {"working_dir": str(folder), **env},
        "metadata": {_OURS: study.id, "home": home},
    }
    until = time.monotonic() + _AGENT_SECONDS
    with _in_one_sentence("the cluster refused the job"):
        while True:
            try:
                return str(client.submit_job(**job))
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(1.0)


def list_jobs(cluster: str) -> str:
    """Every job of raysearch that a cluster knows, latest first."""
    jobs = [job for job in _jobs(jobs_client(read_cluster(cluster))) if _OURS in job.metadata]
    if not jobs:
        return "no study was submitted to this cluster since it started"
    jobs.sort(key=lambda job: job.start_time or 0, reverse=True)
    return "\n".join(
        f"{job.submission_id}  {_when(job.start_time)}  {_state(job)}  "
        f"study {job.metadata[_OURS]}, home {job.metadata.get('home', '?')}"
        for job in jobs
    )


def follow(job: str, cluster: str, lines: int = 10) -> str:
    """A job's state, and the last `lines` lines of its output."""
    client = jobs_client(read_cluster(cluster))
    info = _info(client, job)
    with _in_one_sentence(f"the cluster does not show the output of job {job}"):
        output = str(client.get_job_logs(job)).rstrip().splitlines()
    head = f"job {job}: {_state(info)}, study {info.metadata.get(_OURS, '?')}"
    if info.status == "FAILED" and info.message:
        head += f": {one_line(info.message, 400)}"
    return "\n".join([head, *(f"  {line}" for line in output[max(0, len(output) - lines) :])])


def stop(job: str, cluster: str) -> str:
    """End a job as Ctrl-C would, and wait until its study is closed.

    Raises:
        BadInput: where the cluster knows no such job.
        ClusterFailed: where the cluster does not answer, or the job does not end.
    """
    client = jobs_client(read_cluster(cluster))
    info = _info(client, job)
    if info.status in _ENDED:
        return f"job {job} had ended before: {_state(info)}"
    with _in_one_sentence(f"the cluster does not stop job {job}"):
        client.stop_job(job)
    until = time.monotonic() + _STOP_SECONDS + 30
    while (info := _info(client, job)).status not in _ENDED:
        if time.monotonic() > until:
            raise ClusterFailed(f"job {job} does not stop; it is still {_state(info)}")
        time.sleep(0.5)
    return f"job {job}: {_state(info)}; the same submit command goes on with its study"


# -- the study as the job will have it -------------------------------------------------------------
def _over_there(study: Study, place: ClusterFile, home: str, folder: Path) -> Study:
    """The study with the paths that its job will see; speech that must travel lies in `folder`.

    Raises:
        BadInput: with every corpus that is neither here nor there, or too large to travel.
    """
    problems: list[str] = []
    roots = _roots(study, place, folder, problems)
    if problems:
        raise BadInput(problems)
    corpus = study.corpus.model_copy(update={"root": roots})
    return study.model_copy(update={"home": Path(home), "cluster": "auto", "corpus": corpus})


def _home(words: Sequence[str], study: Study, place: ClusterFile, problems: list[str]) -> str:
    """Where the study is kept over there: a folder that outlives the job."""
    typed = _last_value(words, "home")
    if typed and PurePosixPath(typed).is_absolute():
        return typed
    if typed is None and place.home is not None:
        return place.home
    word = "no home" if typed is None else f"home={typed}"
    problems.append(
        f"submit needs an absolute home on the cluster, but got {word}; give home=/shared/runs, or "
        "home: in the cluster file (on the head's disk, or a disk that it shares)"
    )
    return str(study.home)


def _check_store(words: Sequence[str], problems: list[str]) -> None:
    store = _last_value(words, "store")
    if store is not None and "://" not in store and not store.startswith("/"):
        problems.append(
            f"store={store}: on a cluster the store must be a URI, as in store=s3://bucket/prefix, "
            "or an absolute folder over there"
        )


def _last_value(words: Sequence[str], key: str) -> str | None:
    """What the last word of a key gives; None where there is no such word."""
    texts = [text for name, _, text in (word.partition("=") for word in words) if name == key]
    return (plain_text(texts[-1]) or "") if texts else None


def _roots(study: Study, place: ClusterFile, folder: Path, problems: list[str]) -> dict[str, str]:
    """Each corpus's folder as the job will see it: on the cluster already, or sent along."""
    roots = {}
    for name, root in study.corpus.root.items():
        if name in place.corpora:
            roots[name] = place.corpora[name]
        elif Path(root).exists():
            try:
                roots[name] = copy_corpus(folder, name, Path(root))
            except BadInput as error:
                problems += error.problems
        else:
            problems.append(
                f"corpus.root of {name}: {root} is not on this machine; where it is on the "
                f"cluster's head, say so in the cluster file, as in corpora: {{{name}: {root}}}"
            )
    return roots


# -- what the cluster knows ------------------------------------------------------------------------
@contextlib.contextmanager
def _in_one_sentence(beginning: str) -> Iterator[None]:
    """Tell in one sentence what Ray's client of the Jobs API raises."""
    from ray.exceptions import RayError

    try:
        yield
    except (RuntimeError, OSError, ValueError, RayError) as error:
        raise ClusterFailed(f"{beginning}: {one_line(error, 400)}") from error


def _jobs(client: Any) -> list[Any]:
    with _in_one_sentence("the cluster does not list its jobs"):
        return [job for job in client.list_jobs() if job.submission_id]


def _info(client: Any, job: str) -> Any:
    infos = {info.submission_id: info for info in _jobs(client)}
    if job not in infos:
        ours = [name for name, info in infos.items() if _OURS in info.metadata]
        raise BadInput(
            f"job={job} is unknown to the cluster{near(job, ours)}; its studies are "
            f"{', '.join(ours) or 'none'}"
        )
    return infos[job]


def _state(job: Any) -> str:
    return str(getattr(job.status, "value", job.status)).lower()


def _when(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "not started yet "
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
