#!/usr/bin/env bash
# A Cloud TPU slice of many hosts, one process for each host:
#
#     TPU=my-slice ZONE=us-west4-a launch/tpu_pod.sh --config=configs/txfm_b.py \
#         --workdir=/mnt/shared/runs/b --config.data.store=/mnt/shared/store
#
# The arguments go to `python -m jaxcell.main` on every host as they are. No variables are needed:
# the hosts find each other by the metadata of the slice.
#
# Before, once (a spot slice is cheaper, and taken away at times; what was saved goes on):
#
#     gcloud compute tpus tpu-vm create $TPU --zone=$ZONE --accelerator-type=v5litepod-16 \
#         --version=v2-alpha-tpuv5-lite --spot
#     gcloud compute tpus tpu-vm ssh $TPU --zone=$ZONE --worker=all --command='
#         sudo mount -o nolock FILESTORE:/share /mnt/shared
#         git clone REPOSITORY jaxcell && pip install "./jaxcell[tpu]"'
#
# --workdir and the store lie on a file system that all hosts share and that can rename folders
# (Filestore, Lustre, NFS); a bucket cannot. The program runs on when this connection ends; Google's
# notice that a spot slice is taken away reaches it as SIGTERM, upon which all hosts save the same
# step. The same line, on a new slice of any size, goes on from there.
set -euo pipefail

tpu=${TPU:?the name of the slice} zone=${ZONE:?its zone}
folder=${FOLDER:-jaxcell}     # of the repository, on the hosts
python=${PYTHON:-python3}     # on the hosts
everywhere=(gcloud compute tpus tpu-vm ssh "$tpu" "--zone=$zone" --worker=all)

printf -v line '%q ' "$python" -m jaxcell.main "$@"
# XLA's flags for TPUs go here, as export LIBTPU_INIT_ARGS="…"
start="cd $folder && export LIBTPU_INIT_ARGS='${LIBTPU_INIT_ARGS:-}' &&
{ setsid nohup $line > jaxcell.log 2>&1 < /dev/null & echo \$! > jaxcell.pid; }"

"${everywhere[@]}" --command="$start"
cat << SAID
started on every host of $tpu.
watch: gcloud compute tpus tpu-vm ssh $tpu --zone=$zone --worker=0 --command='tail -f $folder/jaxcell.log'
stop:  gcloud compute tpus tpu-vm ssh $tpu --zone=$zone --worker=0 --command='kill -TERM \$(cat $folder/jaxcell.pid)'
SAID
