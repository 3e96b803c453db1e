"""A Ray cluster of several nodes on this machine, told by lines on stdin what happens to it.

`add NAME` starts a node of one CPU (its workers see RAYSEARCH_TOY_NODE=NAME), `kill NAME` kills all
processes of one, `kill-broker` ends raysearch's broker by `ray.kill`. Each is answered by a line;
the first line is the cluster's address. Run with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN.
"""

from __future__ import annotations

import socket
import sys

import ray
from ray.cluster_utils import Cluster


def main() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"num_cpus": 1, "include_dashboard": False}
    head = {**common, "gcs_server_port": port, "env_vars": {"RAYSEARCH_TOY_NODE": "head"}}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = {}
    print(f"cluster: {cluster.address}", flush=True)
    try:
        for line in sys.stdin:
            word, *rest = line.split()
            if word == "add":
                env = {"RAYSEARCH_TOY_NODE": rest[0]}
                nodes[rest[0]] = cluster.add_node(wait=False, num_cpus=1, env_vars=env)
            elif word == "kill":
                cluster.remove_node(nodes.pop(rest[0]), allow_graceful=False)
            elif word == "kill-broker":
                ray.init(address=cluster.address, log_to_driver=False, namespace="raysearch")
                (name,) = ray.util.list_named_actors()
                ray.kill(ray.get_actor(name), no_restart=True)
                ray.shutdown()
            print("cluster: done", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
