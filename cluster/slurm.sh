#!/usr/bin/env bash
# sbatch cluster/slurm.sh space=rdlr corpus=emodb corpus.root=DIR home=DIR
#
# A study on the nodes of one Slurm allocation: Ray's head and the driver on the first node, a
# raylet on each of the others. The words are those of `tune`; home must be on a disk that outlives
# the allocation. Activate the environment that has raysearch before sbatch, which hands it on; it must
# lie on a disk that all nodes see. The sizes below fit any partition; ask for more on the command
# line: sbatch --nodes=8 --cpus-per-task=16 --time=1-0 cluster/slurm.sh ...
#SBATCH --job-name=raysearch
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --mem-per-cpu=2G
#SBATCH --time=04:00:00
#SBATCH --output=raysearch-%j.log
# Slurm ends the driver this long before the limit, so that it closes its study; sbatch again goes on
#SBATCH --signal=B:TERM@180

set -euo pipefail
if [ "$#" -eq 0 ]; then
    echo "usage: sbatch $0 space=rdlr corpus=NAME corpus.root=DIR home=DIR" >&2
    exit 2
fi

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# where the head is reached: its name, unless Slurm's configuration says otherwise
head=$(scontrol show node "${nodes[0]}" --oneliner | grep -o ' NodeAddr=[^ ]*' | cut -d= -f2)
head=${head:-${nodes[0]}}
cpus=${SLURM_CPUS_PER_TASK:-1}

if ! srun --ntasks="${#nodes[@]}" --ntasks-per-node=1 --overlap --cpus-per-task="$cpus" \
    sh -c 'command -v ray >/dev/null && python -c "import raysearch"'; then
    echo "a node of this job has no ray, or no raysearch: activate the environment that has them" \
        "before sbatch, and see that every node has the disk it lies on" >&2
    exit 2
fi
# two studies may share a node: ports from the job's number, files in a folder of its own
port=$((20000 + SLURM_JOB_ID % 20000))
RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID

# A token of this allocation, in a file that only its owner reads; srun hands on the environment
umask 077
RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
RAY_ADDRESS=$head:$port
RAY_USAGE_STATS_ENABLED=0
export RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_ADDRESS RAY_TMPDIR RAY_USAGE_STATS_ENABLED

started=()
study=
ended() {
    trap - EXIT TERM INT
    if [ -n "$study" ] && kill -0 "$study" 2>/dev/null; then
        kill -TERM "$study" && wait "$study" || true
    fi
    kill "${started[@]}" 2>/dev/null || true
    wait
    rm -rf "$RAY_TMPDIR"
}
trap ended EXIT
trap 'ended; exit 143' TERM INT

# Ray on one node, and its temporary folder gone with it
# shellcheck disable=SC2016
raylet='
cleared() {
    kill "$ray" 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$ray" 2>/dev/null && sleep 0.5; done
    rm -rf "$RAY_TMPDIR" || { sleep 2; rm -rf "$RAY_TMPDIR"; }
}
trap "cleared; exit 143" TERM INT
"$@" &
ray=$!
wait "$ray"
cleared'
start() {
    local node=$1
    shift
    env -u RAY_ADDRESS srun --nodes=1 --ntasks=1 --overlap --cpus-per-task="$cpus" \
        --nodelist="$node" sh -c "$raylet" raylet ray start --block --num-cpus="$cpus" \
        --disable-usage-stats --dashboard-agent-listen-port=0 "$@" &
    started+=("$!")
}

start "${nodes[0]}" --head --port="$port" --include-dashboard=false --temp-dir="$RAY_TMPDIR"
for _ in $(seq 60); do
    if (exec 3<>"/dev/tcp/$head/$port") 2>/dev/null; then break; fi
    sleep 1
done
for node in "${nodes[@]:1}"; do
    start "$node" --address="$RAY_ADDRESS"
done

python -m raysearch tune "$@" cluster=auto &
study=$!
wait "$study"
