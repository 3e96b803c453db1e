"""The files of `cluster/`, checked as far as that goes without a cloud."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"
COMMANDED = sorted(p for p in CLUSTER.iterdir() if p.is_file() and p.name not in ("README.md",))


def test_the_files_are_here_and_the_readme_has_the_command_of_each() -> None:
    names = {path.name for path in COMMANDED}
    assert names == {
        "Containerfile",
        "aws.yaml",
        "example.yaml",
        "kuberay-cluster.yaml",
        "kuberay-job.yaml",
        "kuberay-volume.yaml",
        "on-premise.yaml",
        "slurm.sh",
    }
    readme = (CLUSTER / "README.md").read_text()
    for path in COMMANDED:
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#!")]
        command = lines[0].removeprefix("# ")
        assert f"cluster/{path.name}" in command
        assert command in readme, f"{path.name}: {command}"


def test_no_file_holds_a_token() -> None:
    for path in [*COMMANDED, CLUSTER / "README.md"]:
        assert not re.search(r"\b[0-9a-fA-F]{32,}\b", path.read_text()), path
        assert "RAY_AUTH_MODE=disabled" not in path.read_text()


# -- Ray's cluster launcher --------------------------------------------------------------------
@pytest.mark.parametrize("name", ["on-premise.yaml", "aws.yaml"])
@pytest.mark.filterwarnings("default")  # Ray's own
def test_the_launcher_accepts_it(name: str) -> None:
    """Ray's schema on the file as Ray completes it, as `ray up` does before it calls a cloud."""
    pytest.importorskip("jsonschema")
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((CLUSTER / name).read_text())
    whole = prepare_config(config)
    validate_config(whole)
    kinds = whole["available_node_types"]
    assert whole["head_node_type"] in kinds
    assert whole["max_workers"] >= 2
    with pytest.raises(Exception, match="upscaling_sped"):
        validate_config({**whole, "upscaling_sped": 1.0})


@pytest.mark.parametrize("name", ["on-premise.yaml", "aws.yaml"])
def test_launched_nodes_have_the_token_and_keep_their_dashboard_to_themselves(name: str) -> None:
    config = yaml.safe_load((CLUSTER / name).read_text())
    assert "~/.ray/auth_token" in config["file_mounts"]
    for role in ("head", "worker"):
        starts = [c for c in config[f"{role}_start_ray_commands"] if "ray start" in c]
        assert len(starts) == 1
        assert "RAY_AUTH_MODE=token" in starts[0]
        assert "0.0.0.0" not in starts[0]
        check = subprocess.run(["bash", "-n", "-c", starts[0]], capture_output=True, text=True)
        assert check.returncode == 0, check.stderr
        accepted_by_ray_start(starts[0])
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


def accepted_by_ray_start(command: str) -> None:
    """Every option is one that `ray start` knows."""
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    words = shlex.split(command)
    given = [w.partition("=")[0] for w in words[words.index("start") :] if w.startswith("--")]
    assert given
    assert set(given) <= known, set(given) - known


# -- KubeRay -----------------------------------------------------------------------------------
# Fields of ray.io/v1 (KubeRay 1.5.1 to 1.7), as far as the files use them: name -> type
GROUP = {"rayStartParams": dict, "template": dict}
HEAD = {**GROUP, "serviceType": str}
WORKERS = {
    **GROUP,
    "groupName": str,
    "replicas": int,
    "minReplicas": int,
    "maxReplicas": int,
}
CLUSTER_SPEC = {
    "rayVersion": str,
    "authOptions": dict,
    "enableInTreeAutoscaling": bool,
    "headGroupSpec": dict,
    "workerGroupSpecs": list,
}
JOB_SPEC = {
    "entrypoint": str,
    "submissionMode": str,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "runtimeEnvYAML": str,
    "submitterPodTemplate": dict,
    "rayClusterSpec": dict,
}


def fields(found: dict[str, Any], known: dict[str, type], needed: set[str]) -> None:
    assert set(found) <= set(known), set(found) - set(known)
    assert needed <= set(found), needed - set(found)
    for name, value in found.items():
        assert type(value) is known[name], f"{name} must be {known[name]}, got {value!r}"


def documents(name: str) -> dict[str, Any]:
    found = list(yaml.safe_load_all((CLUSTER / name).read_text()))
    assert all({"apiVersion", "kind", "metadata", "spec"} == set(one) for one in found)
    return {one["kind"]: one for one in found}


def check_cluster(spec: dict[str, Any], claims: set[str], label: dict[str, str]) -> None:
    fields(spec, CLUSTER_SPEC, {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"})
    major, minor, _ = map(int, spec["rayVersion"].split("."))
    assert (major, minor) >= (2, 52), "the first with token authentication"
    assert spec["authOptions"] == {"mode": "token"}
    fields(spec["headGroupSpec"], HEAD, {"rayStartParams", "template"})
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP", "not open to the world"
    assert spec["workerGroupSpecs"]
    for group in spec["workerGroupSpecs"]:
        fields(group, WORKERS, {"rayStartParams", "template", "groupName"})
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        params = group["rayStartParams"]
        assert all(isinstance(value, str) for value in params.values()), "map[string]string"
        assert group["template"]["metadata"]["labels"] == label, "the NetworkPolicy's"
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for volume in volumes.values():
            assert volume["persistentVolumeClaim"]["claimName"] in claims
        for container in pod["containers"]:
            assert {"name", "image"} <= set(container)
            assert container["resources"]["limits"] == container["resources"]["requests"]
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in volumes
            for port in container.get("ports", []):
                assert re.fullmatch(r"[a-z0-9-]{1,15}", port["name"])


def claims() -> set[str]:
    """The volumes that are applied once."""
    return {documents("kuberay-volume.yaml")["PersistentVolumeClaim"]["metadata"]["name"]}


def test_deleting_a_cluster_or_a_job_keeps_the_results() -> None:
    for name in ("kuberay-cluster.yaml", "kuberay-job.yaml"):
        assert "PersistentVolumeClaim" not in documents(name)


def test_the_machines_of_aws_have_a_python_that_the_project_supports() -> None:
    config = yaml.safe_load((CLUSTER / "aws.yaml").read_text())
    project = tomllib.loads((CLUSTER.parent / "pyproject.toml").read_text())["project"]
    least = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    pythons = {"22.04": (3, 10), "24.04": (3, 12), "26.04": (3, 14)}
    for kind in config["available_node_types"].values():
        (release,) = re.findall(
            r"canonical/ubuntu/server/([\d.]+)/", kind["node_config"]["ImageId"]
        )
        assert pythons[release] >= least


def test_the_ray_cluster_of_kuberay() -> None:
    found = documents("kuberay-cluster.yaml")
    cluster = found["RayCluster"]
    assert cluster["apiVersion"] == "ray.io/v1"
    policy = found["NetworkPolicy"]["spec"]
    label = policy["podSelector"]["matchLabels"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": label}}]}]
    check_cluster(cluster["spec"], claims(), label)
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"


def test_the_ray_job_of_kuberay() -> None:
    from raysearch.study import load_study

    found = documents("kuberay-job.yaml")
    job = found["RayJob"]
    assert job["apiVersion"] == "ray.io/v1"
    fields(job["spec"], JOB_SPEC, {"entrypoint", "rayClusterSpec", "shutdownAfterJobFinishes"})
    assert job["spec"]["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode")
    label = found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert job["spec"]["submitterPodTemplate"]["metadata"]["labels"] == label
    check_cluster(job["spec"]["rayClusterSpec"], claims(), label)
    env = yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]
    assert int(env["RAY_JOB_STOP_WAIT_TIME_S"]) >= 60
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "raysearch", "tune"]
    study = load_study(words[4:], cwd=Path("/"))
    mounts = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert str(study.home) in {mount["mountPath"] for mount in mounts["volumeMounts"]}


# -- Slurm -------------------------------------------------------------------------------------
FAKE = r"""#!/usr/bin/env bash
printf '%s\n' "{name} $(echo "$*" | tr '\n' ' ')" >> "$CALLS"
{body}
"""
SCONTROL = """
case "$*" in
*hostnames*) printf 'localhost\\nnode2\\nnode3\\n' ;;
*) echo "NodeName=$3 NodeAddr=$3 State=IDLE" ;;
esac
"""
SRUN = """
case "$*" in *"import raysearch"*) exit "${BARE:-0}";; esac
[ -n "$RAY_AUTH_TOKEN" ] && [ "$RAY_AUTH_MODE" = token ] || exit 3
echo "token $RAY_AUTH_TOKEN" >> "$CALLS"
case "$*" in *--head*)
    exec "$PYTHON" -c '
import os, socket, sys
port = int([w for w in sys.argv if w.startswith("--port=")][0][7:])
server = socket.create_server(("127.0.0.1", port))
while True:
    server.accept()' "$@";;
esac
exec sleep 60
"""
DRIVER = """
echo "address $RAY_ADDRESS" >> "$CALLS"
trap 'echo driver-closed >> "$CALLS"; exit 130' TERM
# a study outlives the start of its nodes
until [ "$(grep -c ^token "$CALLS")" -eq 3 ]; do sleep 0.1; done
for _ in $(seq "${DRIVER_SECONDS:-0}"); do sleep 1 & wait $!; done
exit "${DRIVER_CODE:-0}"
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of an allocation of three nodes, its commands fakes that note their calls."""
    bodies = {"scontrol": SCONTROL, "srun": SRUN, "python": DRIVER}
    for name, body in bodies.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(FAKE.format(name=name, body=body))
        path.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return {
        **kept,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "CALLS": str(tmp_path / "calls"),
        "SLURM_JOB_NODELIST": "localhost,node[2-3]",
        "SLURM_JOB_ID": str(10_000 + os.getpid() % 10_000),
        "SLURM_CPUS_PER_TASK": "4",
    }


def test_the_slurm_script_starts_a_head_and_workers_and_then_the_study(
    slurm: dict[str, str],
) -> None:
    script = CLUSTER / "slurm.sh"
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    words = ["space=rdlr", "home=/shared/a b"]
    done = subprocess.run(
        ["bash", script, *words], env=slurm, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    calls = [call.rstrip() for call in Path(slurm["CALLS"]).read_text().splitlines()]
    starts = [call for call in calls if call.startswith("srun ") and " ray start " in call]
    assert len(starts) == 3
    port = 20_000 + int(slurm["SLURM_JOB_ID"]) % 20_000
    for start, node in zip(sorted(starts, key=lambda c: "--head" not in c), range(3), strict=True):
        accepted_by_ray_start(start[start.index(" ray start") :])
        assert (f"--port={port}" if node == 0 else f"--address=localhost:{port}") in start
    assert {re.search(r"--nodelist=(\S+)", start)[1] for start in starts} == {  # type: ignore[index]
        "localhost",
        "node2",
        "node3",
    }
    tokens = {call.split()[1] for call in calls if call.startswith("token ")}
    assert len(tokens) == 1, "one token for all nodes"
    assert re.fullmatch(r"[0-9a-f]{64}", tokens.pop())
    assert not any(re.search(r"[0-9a-f]{64}", call) for call in starts), "not for ps to see"
    assert f"address localhost:{port}" in calls
    assert "python -m raysearch tune space=rdlr home=/shared/a b cluster=auto" in calls


def test_the_slurm_script_fails_as_its_study_does_and_leaves_nothing_running(
    slurm: dict[str, str],
) -> None:
    script = ["bash", str(CLUSTER / "slurm.sh"), "space=rdlr"]
    done = subprocess.run(script, env={**slurm, "DRIVER_CODE": "2"}, timeout=60)
    assert done.returncode == 2
    none = subprocess.run(["bash", str(CLUSTER / "slurm.sh")], env=slurm, capture_output=True)
    assert none.returncode == 2
    assert b"usage: sbatch" in none.stderr


def test_the_slurm_script_closes_the_study_when_its_time_ends(slurm: dict[str, str]) -> None:
    import signal
    import time

    process = subprocess.Popen(
        ["bash", str(CLUSTER / "slurm.sh"), "space=rdlr"], env={**slurm, "DRIVER_SECONDS": "50"}
    )
    calls = Path(slurm["CALLS"])
    end = time.monotonic() + 40
    while not (calls.exists() and "address " in calls.read_text()):
        assert time.monotonic() < end
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=40) == 143
    assert "driver-closed" in calls.read_text()


# -- the container -----------------------------------------------------------------------------
def instructions(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", path.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(None, 1)[1]) for line in lines]


def test_the_container_file() -> None:
    found = instructions(CLUSTER / "Containerfile")
    kinds = [kind for kind, _ in found]
    assert set(kinds) <= {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "CMD"}
    assert kinds.index("FROM") < kinds.index("RUN")
    root = CLUSTER.parent
    copied = [word for kind, rest in found if kind == "COPY" for word in rest.split()[:-1]]
    for word in copied:
        assert (root / word).exists(), f"COPY {word}"
    # what pip builds the package from has been copied before it runs
    install = next(i for i, (k, r) in enumerate(found) if k == "RUN" and "pip install" in r)
    before = [w for k, r in found[:install] if k == "COPY" for w in r.split()[:-1]]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    places = project["tool"]["setuptools"]
    packages = {places["package-dir"].get(name, name.split(".")[0]) for name in places["packages"]}
    assert packages | {"pyproject.toml", "README.md", "LICENSE"} <= set(before)
    assert "cluster" in project["project"]["optional-dependencies"], "the extra it installs"
    for _, rest in (item for item in found if item[0] == "RUN"):
        assert subprocess.run(["bash", "-n", "-c", rest]).returncode == 0
    assert kinds.index("USER") > install, "studies do not run as root"
    environment = next(rest for kind, rest in found if kind == "ENV")
    assert "RAY_AUTH_MODE=token" in environment
    assert "RAY_AUTH_TOKEN" not in environment
