#!/usr/bin/env bash
#SBATCH --job-name=latentfm
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@180
#SBATCH --output=latentfm-%j.log
#
# Trains on the GPUs of one or several nodes:
#
#   sbatch scripts/slurm_train.sh MODEL_FOLDER [options of latentfm-train]
#   sbatch --nodes=2 scripts/slurm_train.sh /scratch/me/my-model --images ... --masks ...
#
# One task for each node starts torchrun, which starts a process for each GPU. Three minutes before
# the time limit SLURM sends SIGTERM, and the run saves its state. The same command submitted again
# continues it; the options are then ignored, and named in the log. Activate the environment before
# sbatch: the job inherits it.
set -euo pipefail

if [ $# -lt 1 ]; then
    echo "usage: sbatch scripts/slurm_train.sh MODEL_FOLDER [options of latentfm-train]" >&2
    exit 2
fi
out=$1
shift
if [ -f "$out/training/checkpoint.safetensors" ]; then
    options=(--resume)
    [ $# -eq 0 ] || echo "The run in $out is continued with its own settings. Ignored: $*" >&2
else
    options=("$@")
fi

# The first line; `head` would end scontrol by SIGPIPE, and pipefail the job.
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes%%$'\n'*}
# Without GPUs, LATENTFM_PROCESSES sets the number of processes of each node.
processes=${LATENTFM_PROCESSES:-${SLURM_GPUS_ON_NODE:-1}}
# The threads that decode and augment share the cores of the node among its processes.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((${SLURM_CPUS_PER_TASK:-1} / processes > 0 ?
    ${SLURM_CPUS_PER_TASK:-1} / processes : 1))}

exec srun torchrun \
    --nnodes="$SLURM_NNODES" --nproc-per-node="$processes" \
    --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" \
    --rdzv-endpoint="$head:$((20000 + SLURM_JOB_ID % 10000))" \
    -m latentfm_core.cli.train --out "$out" "${options[@]}"
