#!/bin/sh
# One dump of MLflow's databases and artifacts a day, the last seven kept. Run by
# mlflow-backup.service; by hand: backup.sh [FOLDER-OF-BACK-UPS] [FOLDER-OF-THE-ARTIFACTS]
set -eu
place=${1:-/var/lib/mlflow-backup}
data=${2:-/var/lib/mlflow}
day=$(date +%F)

# aside first: a folder with a date for its name is whole
new=$place/$day.new
rm -rf "$place"/*.new
mkdir -p "$new"
for name in mlflow mlflow_auth optuna; do
    pg_dump --format=custom --file="$new/$name.dump" "$name"
done
# tar ends with 1 where a file grew as it was read: that file is of a run after the dump
code=0
tar --create --gzip --file="$new/artifacts.tar.gz" --directory="$data" artifacts || code=$?
[ "$code" -le 1 ]
rm -rf "${place:?}/$day"
mv "$new" "$place/$day"

find "$place" -mindepth 1 -maxdepth 1 -type d -name '????-??-??' | sort | head -n -7 |
    while read -r old; do rm -rf "$old"; done
