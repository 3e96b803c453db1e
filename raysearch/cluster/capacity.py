"""Whether any node has room for a stage: what none has, Ray would wait for without a word."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raysearch.errors import BadInput
from raysearch.stages.bundles import Resources, bundles, times
from raysearch.stages.running import Runtime


def shortage(runtime: Runtime, nodes: Sequence[Resources]) -> str:
    """Why a stage would wait for ever on these nodes, as one sentence; '' where it would not.

    Args:
        runtime: how a study's stages run.
        nodes: the resources of each node in all, whether they are free or not.
    """
    # of several workers, only the stages that train a network are groups
    kinds = [runtime, replace(runtime, workers=1)] if runtime.workers > 1 else [runtime]
    return next(filter(None, (_shortage(each, nodes) for each in kinds)), "")


def _shortage(runtime: Runtime, nodes: Sequence[Resources]) -> str:
    """`shortage` for stages of one kind."""
    request = bundles(runtime)
    room = sum(times(request[0], node) for node in nodes)
    if room >= len(request):
        return ""
    ask = " and ".join(_amount(name, n) for name, n in request[0].items() if n)
    if len(request) > 1:
        ask = f"{len(request)} times {ask}"
    return f"a stage asks for {ask} ({_keys(runtime)}), but {_offer(request[0], nodes)}"


def _keys(runtime: Runtime) -> str:
    """The words of a study that a request comes from."""
    words = [f"workers={runtime.workers}"] if runtime.workers > 1 else []
    if runtime.gpus > 0:
        words.append(f"gpus={runtime.gpus:g}")
    if runtime.workers > 1 and not runtime.gpus:
        words.append(f"threads={runtime.threads}")
    if runtime.workers == 1:
        words.append(f"cpus={runtime.cpus:g}")
    return " and ".join(words)


def _amount(name: str, n: float) -> str:
    """Such as 1 GPU, or 2 CPUs."""
    return f"{n:g} {name}{'' if n == 1 else 's'}"


def _offer(bundle: Mapping[str, float], nodes: Sequence[Resources]) -> str:
    """What the nodes have of the resources that a bundle names."""
    names = [name for name, n in bundle.items() if n]
    sizes = Counter(tuple(node.get(name, 0.0) for name in names) for node in nodes)
    each = [
        f"{count} with " + " and ".join(map(_amount, names, size))
        for size, count in sorted(sizes.items(), reverse=True)
    ]
    return f"the nodes are {', '.join(each)}" if each else "there is no node"


def check_here(runtime: Runtime) -> None:
    """Refuse what this machine cannot run, before Ray is started on it.

    Raises:
        BadInput: no stage of the study would ever start.
    """
    here = {"CPU": float(os.cpu_count() or 1), "GPU": _gpus_here() if runtime.gpus > 0 else 0.0}
    problem = shortage(runtime, [here])
    if problem:
        raise BadInput(
            f"{problem} (this machine): no stage could ever start; ask for less, or give "
            "cluster=FILE for a cluster that has more"
        )


def _gpus_here() -> float:
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    if manager is None:
        return 0.0
    visible = manager.get_current_process_visible_accelerator_ids()
    count = manager.get_current_node_num_accelerators()
    return float(count if visible is None else min(count, len(visible)))


def check_cluster(runtime: Runtime, patience: float = 20.0) -> str:
    """Refuse what no node of the joined cluster can run.

    Args:
        runtime: how a study's stages run.
        patience: seconds in which nodes may still join, as they do where head and driver are
            started together.

    Returns:
        What is waited for, as one sentence, where the cluster starts nodes by itself; else ''.

    Raises:
        BadInput: no stage of the study would ever start.
    """
    import ray

    until = time.monotonic() + patience
    while problem := shortage(runtime, [n["Resources"] for n in ray.nodes() if n["Alive"]]):
        if time.monotonic() > until or _starts_nodes():
            break
        time.sleep(0.5)
    if not problem:
        return ""
    if _starts_nodes():
        return f"waiting for a node: {problem}; the cluster's autoscaler is asked for one"
    raise BadInput(
        f"{problem}: no stage could ever start; ask for less, or join a node that "
        "has more (ray start --address=HEAD:6379)"
    )


def _starts_nodes() -> bool:
    """Whether the joined cluster has an autoscaler."""
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status
    from ray.experimental.internal_kv import _internal_kv_get

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    return has_autoscaler(
        _internal_kv_get(b"__autoscaling_status"), int(status.stats.autoscaler_version or 0)
    )


def has_autoscaler(status: bytes | None, reports: int) -> bool:
    """Whether a cluster starts nodes by itself.

    Args:
        status: the JSON that Ray's monitor writes about its first autoscaler. It names the type of
            every node; without an autoscaler a type is made of its node's id.
        reports: how many reports the second autoscaler (KubeRay's) has made.
    """
    report: dict[str, Any] = (json.loads(status).get("autoscaler_report") if status else None) or {}
    types = (report.get("node_type_mapping") or {}).values()
    return reports > 0 or any(not str(name).startswith("node_") for name in types)
