"""Studies as Ray jobs: sent to a cluster, followed and ended from elsewhere, by Ray's Jobs API.

The driver of a submitted study runs on the cluster's head, in a working directory that holds
raysearch, the method's code, the study as one file, and speech that is not on the cluster yet.
"""

from __future__ import annotations

import secrets
import shlex
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from raysearch.cluster.connecting import environment, jobs_client
from raysearch.cluster.shipping import modules_of, stage_code, stage_corpus
from raysearch.errors import BadInput, ClusterFailed, near, one_line
from raysearch.study import Study, dump, load_study
from raysearch.study.clusterfile import ClusterFile, read_cluster
from raysearch.study.folder import CONFIGURATION

_STOP_SECONDS = 120
"""how long a job that was told to stop may take to close its study"""
_AGENT_SECONDS = 60
"""how long a head may take to be ready for jobs"""
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_OURS = "raysearch_study"
"""the metadata key by which our jobs are known"""


def submit(words: Sequence[str], cwd: Path) -> str:
    """Send the study that `words` describe to the cluster; returns the job and how to follow it.

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
    _check_store(words, study, problems)
    if problems:
        raise BadInput(problems)
    with tempfile.TemporaryDirectory(prefix="raysearch-job-") as staging:
        folder = Path(staging)
        stage_code(folder, modules_of(study), without=[Path(study.home)])
        roots = _roots(study, place, folder, problems)
        if problems:
            raise BadInput(problems)
        there = study.model_copy(
            update={
                "home": Path(home),
                "cluster": "auto",
                "corpus": study.corpus.model_copy(update={"root": roots}),
            }
        )
        (folder / CONFIGURATION).write_text(dump(there))
        client = jobs_client(place)
        env = environment(place)
        # read by the process that ends the job; Ray's own 3 seconds would kill the driver
        env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] = str(_STOP_SECONDS)
        job = _send(
            client,
            entrypoint=f"exec python -m raysearch tune space={CONFIGURATION}",
            submission_id=f"{study.id}-{secrets.token_hex(3)}",
            runtime_env={"working_dir": staging, **env},
            metadata={_OURS: study.id, "home": home},
        )
    where = f" cluster={shlex.quote(study.cluster)}" if study.cluster != "auto" else ""
    return (
        f"job {job}: study {study.id}, its home on the cluster is {home}\n"
        f"follow: python -m raysearch status job={job}{where}\n"
        f"end:    python -m raysearch stop job={job}{where}   (the same submit goes on later)"
    )


def _send(client: Any, **job: Any) -> str:
    """Submit a job; a head that has only just started has no agent for it yet."""
    until = time.monotonic() + _AGENT_SECONDS
    while True:
        try:
            sent: str = client.submit_job(**job)
            return sent
        except Exception as error:
            if "No available agent" not in str(error) or time.monotonic() > until:
                raise ClusterFailed(
                    f"the cluster refused the job: {one_line(error, 400)}"
                ) from error
        time.sleep(1.0)


def listed(cluster: str) -> str:
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
    """A job's state, and the last lines of what it said."""
    client = jobs_client(read_cluster(cluster))
    info = _info(client, job)
    told = str(client.get_job_logs(job)).rstrip().splitlines()
    head = f"job {job}: {_state(info)}, study {info.metadata.get(_OURS, '?')}"
    if info.status == "FAILED" and info.message:
        head += f": {one_line(info.message, 400)}"
    return "\n".join([head, *(f"  {line}" for line in told[-lines:])])


def stop(job: str, cluster: str) -> str:
    """End a job as Ctrl-C would, and wait until its study is closed."""
    client = jobs_client(read_cluster(cluster))
    info = _info(client, job)
    if info.status in _ENDED:
        return f"job {job} had ended before: {_state(info)}"
    client.stop_job(job)
    end = time.monotonic() + _STOP_SECONDS + 30
    while (info := _info(client, job)).status not in _ENDED:
        if time.monotonic() > end:
            raise ClusterFailed(f"job {job} was told to stop, but is still {info.status.lower()}")
        time.sleep(0.5)
    return f"job {job}: {_state(info)}; the same submit command goes on with its study"


# -- parts -------------------------------------------------------------------------------------
def _home(words: Sequence[str], study: Study, place: ClusterFile, problems: list[str]) -> str:
    """Where the study is kept over there: a folder that outlives the job."""
    given = [word.partition("=")[2] for word in words if word.startswith("home=")]
    if given and PurePosixPath(given[-1]).is_absolute():
        return given[-1]
    if not given and place.home is not None:
        return place.home
    said = f"home={given[-1]}" if given else "no home"
    problems.append(
        f"submit needs an absolute home on the cluster, but got {said}; give home=/shared/runs, or "
        "home: in the cluster file (on the head's disk, or a disk that it shares)"
    )
    return str(study.home)


def _check_store(words: Sequence[str], study: Study, problems: list[str]) -> None:
    for word in words:
        value = word.partition("=")[2]
        if word.startswith("store=") and "://" not in value and not value.startswith("/"):
            problems.append(
                f"{word}: on a cluster the store must be a URI, as in store=s3://bucket/prefix, or "
                "an absolute folder over there"
            )


def _roots(study: Study, place: ClusterFile, folder: Path, problems: list[str]) -> dict[str, str]:
    """Each corpus's folder as the job will see it: on the cluster already, or sent along."""
    roots = {}
    for name, root in study.corpus.root.items():
        if name in place.corpora:
            roots[name] = place.corpora[name]
        elif Path(root).exists():
            try:
                roots[name] = stage_corpus(folder, name, Path(root))
            except BadInput as error:
                problems += error.problems
        else:
            problems.append(
                f"corpus.root of {name}: {root} is not on this machine; where it is on the "
                f"cluster's head, say so in the cluster file, as in corpora: {{{name}: {root}}}"
            )
    return roots


def _jobs(client: Any) -> list[Any]:
    try:
        return [job for job in client.list_jobs() if job.submission_id]
    except Exception as error:
        raise ClusterFailed(
            f"the cluster does not list its jobs: {one_line(error, 400)}"
        ) from error


def _info(client: Any, job: str) -> Any:
    known = {one.submission_id: one for one in _jobs(client)}
    if job not in known:
        ours = [name for name, one in known.items() if _OURS in one.metadata]
        raise BadInput(
            f"job={job} is unknown to the cluster{near(job, ours)}; its studies are "
            f"{', '.join(ours) or 'none'}"
        )
    return known[job]


def _state(job: Any) -> str:
    return str(getattr(job.status, "value", job.status)).lower()


def _when(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "not started yet "
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
