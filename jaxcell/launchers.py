"""Who started this process, as which of how many: read from the environment of the launchers.

Explicit variables come first, then Open MPI, SLURM, and the TPU's own; what JAX itself reads is
read by its own classes. JAX's detection alone would hang in an interactive SLURM step, and would
show one GPU to a process that has a whole node.
"""

import os
import re
from dataclasses import dataclass

EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID")
MPI = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
ORTE = "OMPI_MCA_orte_hnp_uri"
PREFIXES = ("JAX_", "SLURM_", "OMPI_", "TPU_", "MEGASCALE_", "JOB", "KUBERNETES_SERVICE_HOST")
# Of the many that start so, those that say something about processes.
TELLING = re.compile("COORD|PROC|TASK|NODE|RANK|SIZE|WORKER|SLICE|COMPLETION|LOCAL|JOB_ID|JOBSET")


@dataclass(frozen=True)
class Job:
    """What ``jax.distributed`` needs to know.

    launcher : who says so, for messages
    coordinator : host:port of process 0
    processes, process : how many, and which of them this is
    devices : which of the machine's GPUs are this process' own; None: all that it sees
    """

    launcher: str
    coordinator: str
    processes: int
    process: int
    devices: tuple | None = None


def find():
    """The job that this process is part of; None when it is alone.

    Raises
    ------
    ValueError
        When the variables of a launcher contradict each other or are not all there; says which
        were seen.
    """
    own = [name for name in EXPLICIT if os.environ.get(name)]
    if set(own) - {"JAX_COORDINATOR_ADDRESS"}:
        _need("explicit variables", EXPLICIT)
        address, number, process = _checked("explicit variables", *EXPLICIT)
        return None if number == 1 else Job("explicit variables", address, number, process)
    for one in (_mpi, _slurm, _tpu):
        known, job = one()
        if known:
            return job
    if own:  # an address alone may correct what a launcher says; by itself it is too little
        _need("explicit variables", EXPLICIT)
    return None


def seen():
    """'SLURM_NTASKS=2, SLURM_PROCID=0, …': the variables of launchers in the environment."""
    names = sorted(n for n in os.environ if n.startswith(PREFIXES) and TELLING.search(n))
    return ", ".join(f"{n}={os.environ[n]}" for n in names) or "none"


def _need(launcher, names):
    if lacks := [name for name in names if not os.environ.get(name)]:
        raise ValueError(
            f"many processes by {launcher}: {', '.join(lacks)} missing; seen: {seen()}. Set all of "
            f"{', '.join(names)}, the same but for the process' own number, or none"
        )


def _number(launcher, name, least):
    text = os.environ[name]
    if not text.isdigit() or int(text) < least:
        raise ValueError(
            f"many processes by {launcher}: {name} is {text!r}, expected an integer of at least "
            f"{least}; seen: {seen()}"
        )
    return int(text)


def _checked(launcher, address, number, process):
    """Values of the three variables; ``address`` is None where the launcher has none of its own."""
    count, index = _number(launcher, number, 1), _number(launcher, process, 0)
    if index >= count:
        raise ValueError(
            f"many processes by {launcher}: {process}={index} is not below {number}={count}; "
            f"seen: {seen()}"
        )
    where = os.environ.get(address or "JAX_COORDINATOR_ADDRESS")
    port = os.environ.get("JAX_COORDINATOR_PORT")
    if where and port and ":" not in where:  # as xpk gives them
        where = f"{where}:{port}"
    if where and not re.fullmatch(r"\S+:\d+", where):
        raise ValueError(
            f"many processes by {launcher}: JAX_COORDINATOR_ADDRESS is {where!r}, expected "
            f"host:port; seen: {seen()}"
        )
    return where, count, index


def _address(cluster):
    port = os.environ.get("JAX_COORDINATOR_PORT")
    return cluster.get_coordinator_address(timeout_secs=300, override_coordinator_port=port)


def _mpi():
    """(whether mpirun started this process, its Job)."""
    from jax._src.clusters import OmpiCluster

    if os.environ.get(MPI[0], "1") == "1":
        return MPI[0] in os.environ, None
    _need("Open MPI", MPI)
    where, count, index = _checked("Open MPI", None, *MPI)
    if not where:
        if ORTE not in os.environ:  # Open MPI 5 tells its processes no address
            raise ValueError(
                f"many processes by Open MPI: neither {ORTE} nor JAX_COORDINATOR_ADDRESS is set; "
                f"seen: {seen()}. Start with `mpirun -x JAX_COORDINATOR_ADDRESS=host:port`, the "
                "host that of rank 0"
            )
        where = _address(OmpiCluster)
    here = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE")
    devices = _devices("OMPI_COMM_WORLD_LOCAL_RANK", here and int(here))
    return True, Job("Open MPI", where, count, index, devices)


def _slurm():
    """(whether this process is a task of a SLURM step, its Job).

    The batch script itself and the shell of ``salloc`` are no tasks: they see the SLURM_NTASKS of
    the job, and would wait for tasks that nobody has started.
    """
    from jax._src.clusters import SlurmCluster

    if "SLURM_JOB_ID" not in os.environ:
        return False, None
    in_step = "SLURM_STEP_NODELIST" in os.environ
    if not in_step and os.environ.get("SLURM_PROCID", "0") == "0":
        return False, None
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in os.environ else "SLURM_NTASKS"
    if in_step and os.environ.get(tasks, "1") == "1":
        return True, None
    names = (*SLURM[:2], tasks, SLURM[3])
    _need("SLURM", names)
    where, count, index = _checked("SLURM", None, tasks, "SLURM_PROCID")
    where = where or _address(SlurmCluster)
    return True, Job("SLURM", where, count, index, _devices("SLURM_LOCALID", _tasks_here()))


def _tasks_here():
    """How many tasks SLURM put on this node; None when it does not say.

    SLURM_STEP_TASKS_PER_NODE is '4(x2),3': 4 on each of two nodes, 3 on the next.
    """
    text, node = os.environ.get("SLURM_STEP_TASKS_PER_NODE"), os.environ.get("SLURM_NODEID")
    if not text or not node:
        return None
    counts = []
    for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        counts += [int(number)] * int(times or 1)
    return counts[int(node)] if int(node) < len(counts) else None


def _devices(rank, here):
    """Which of the GPUs that this process sees are its own; None: all.

    rank : the variable with its number on the node; here : how many share the node, None: unknown
    """
    local, shown = os.environ.get(rank), os.environ.get("CUDA_VISIBLE_DEVICES")
    if os.environ.get("JAX_LOCAL_DEVICE_IDS") or not local or here == 1:
        return None  # JAX reads the variable itself
    gpus = shown.split(",") if shown else None
    if gpus and len(gpus) == 1:
        return None  # bound by the launcher already: to this process it is number 0
    if not gpus or not here:
        return (int(local),)
    if len(gpus) % here:
        raise ValueError(
            f"{here} processes on this node share {len(gpus)} GPUs (CUDA_VISIBLE_DEVICES={shown}); "
            "start as many processes as GPUs, one for all, or set JAX_LOCAL_DEVICE_IDS"
        )
    each = len(gpus) // here
    return tuple(range(int(local) * each, (int(local) + 1) * each))


def _tpu():
    """(whether this is a host of a TPU slice, its Job): hosts by GKE's variables or metadata.

    JAX looks for neither where the machine has no TPU chips; the process is left alone then.
    """
    from jax._src import clusters

    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and "tpu" not in platforms.split(","):
        return False, None
    for cluster in (clusters.GkeTpuCluster, clusters.GceTpuCluster):
        if cluster.is_env_present():
            count = cluster.get_process_count()
            if count == 1:
                return True, None
            where = os.environ.get("JAX_COORDINATOR_ADDRESS") or _address(cluster)
            return True, Job("the TPU slice", where, count, cluster.get_process_id())
    return False, None
