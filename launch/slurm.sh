#!/usr/bin/env bash
# A SLURM job, one process for each GPU:
#
#     sbatch launch/slurm.sh --config=configs/txfm_b.py --workdir=/shared/runs/b \
#         --config.data.store=/shared/store
#
# The arguments go to `python -m jaxcell.main` as they are. Name the workdir, on a file system that
# all nodes share: a job that is started again must find it.
#
# ---- change these to your cluster ------------------------------------------------------------
#SBATCH --job-name=jaxcell
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
# A node with one process for all its GPUs (--ntasks-per-node=1, and its cores in --cpus-per-task)
# works as well: a process that is alone on its node takes all that it sees.
#
# ---- these make a job survive ----------------------------------------------------------------
# SIGTERM to the tasks of srun 300 s before the time is over. No "B:" before TERM: that would go to
# this script alone, which would not pass it on.
#SBATCH --signal=TERM@300
# SLURM starts it again when a node fails or a job of more priority takes its place; this script
# does so when the time is over. Both give the same command, which goes on from the last step.
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

# ---- your environment ------------------------------------------------------------------------
# module load cuda; source /shared/venv/bin/activate
python=${PYTHON:-python}

# The processes find each other by SLURM's own variables (SLURM_STEP_NODELIST, SLURM_PROCID, …).
# On nodes with several networks, or names that do not resolve, name process 0's address:
# export JAX_COORDINATOR_ADDRESS=10.0.0.1:61234

# A proxy between the nodes makes them wait for each other for ever.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY

# XLA's flags for GPUs that talk to each other, so that collectives run beside the computation:
# export XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_enable_latency_hiding_scheduler=true"
# Compiled programs are kept, so that a job that is started again computes at once.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/jaxcell}

# SLURM also asks the script itself to end: it has to outlive its tasks.
trap : TERM

status=0
srun --kill-on-bad-exit=0 "$python" -m jaxcell.main "$@" || status=$?

# 75: saved and stopped before the last step.
if ((status == 75)); then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
