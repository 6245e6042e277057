#!/usr/bin/env bash
# Many processes on this machine, one run:
#
#     launch/local.sh 2 --config=configs/txfm_b.py --workdir=runs/two --config.data.store=STORE
#
# The first argument is the number of processes; all others go to `python -m jaxcell.main` as they
# are. One GPU for each process where there are GPUs. One process that sees all GPUs of a machine is
# as fast and simpler: this is for trying what runs on many machines.
#
# Ctrl-C or SIGTERM: all processes save the same step and end with status 75; the same line goes on.
# A second one ends them at once.
set -euo pipefail

number=${1:-}
if [[ ! $number =~ ^[1-9][0-9]*$ || $# -lt 2 ]]; then
  echo "launch/local.sh: found '$number', expected a number of processes, then the flags of jaxcell.main" >&2
  exit 2
fi
shift
python=${PYTHON:-python}

free_port='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
export JAX_COORDINATOR_ADDRESS=${JAX_COORDINATOR_ADDRESS:-127.0.0.1:$("$python" -c "$free_port")}
export JAX_NUM_PROCESSES=$number

gpus=0
if [[ ${JAX_PLATFORMS:-} != cpu ]] && command -v nvidia-smi > /dev/null; then
  gpus=$(nvidia-smi --list-gpus | wc -l)
fi
if ((gpus > 0 && gpus < number)); then
  echo "$number processes for $gpus GPUs: start $gpus, or set JAX_PLATFORMS=cpu" >&2
  exit 2
fi

pids=()
for ((i = 0; i < number; i++)); do
  if ((gpus > 0)); then export JAX_LOCAL_DEVICE_IDS=$i; fi
  JAX_PROCESS_ID=$i "$python" -m jaxcell.main "$@" &
  pids+=($!)
done
signal=TERM
stop() {
  kill "-$signal" "${pids[@]}" 2> /dev/null || true
  signal=KILL
}
trap stop TERM INT

# The first status that is no 0, but 75 (stopped, goes on) only where no process failed.
status=0
for pid in "${pids[@]}"; do
  code=0
  wait "$pid" || code=$?
  while kill -0 "$pid" 2> /dev/null; do # the trap ended the wait, not the process
    code=0
    wait "$pid" || code=$?
  done
  if ((code != 0 && (status == 0 || status == 75))); then status=$code; fi
done
exit "$status"
