"""What each launcher's variables are taken to say, and what is said of those that do not hold."""

import os

import pytest

from jaxcell import launchers
from jaxcell.launchers import Job, find

SLURM = {
    "SLURM_JOB_ID": "5000",
    "SLURM_STEP_NODELIST": "node[07-08],other1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "6",
    "SLURM_LOCALID": "2",
    "SLURM_NODEID": "1",
}
MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
EXPLICIT = {
    "JAX_COORDINATOR_ADDRESS": "host:1234",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "1",
}


@pytest.fixture
def seen(monkeypatch):
    """Call it with the only launcher's variables that are to be seen."""

    def show(*parts, **more):
        for name in list(os.environ):
            if name.startswith(launchers.PREFIXES) or name == "CUDA_VISIBLE_DEVICES":
                monkeypatch.delenv(name)
        monkeypatch.setenv("JAX_PLATFORMS", "cpu")
        for name, value in {k: v for part in (*parts, more) for k, v in part.items()}.items():
            if value is not None:
                monkeypatch.setenv(name, value)

    return show


def test_a_laptop_is_alone(seen):
    seen()
    assert find() is None


def test_explicit_variables(seen):
    seen(EXPLICIT)
    assert find() == Job("explicit variables", "host:1234", 2, 1)
    seen(EXPLICIT, JAX_NUM_PROCESSES="1", JAX_PROCESS_ID="0")
    assert find() is None
    seen(EXPLICIT, JAX_COORDINATOR_ADDRESS="host", JAX_COORDINATOR_PORT="99")
    assert find().coordinator == "host:99"
    seen(SLURM, EXPLICIT)  # they win
    assert find().process == 1


def test_slurm(seen):
    seen(SLURM)
    port = 5000 % 4096 + 65535 - 4095
    assert find() == Job("SLURM", f"node07:{port}", 8, 6, (2,))
    seen(SLURM, JAX_COORDINATOR_PORT="77")
    assert find().coordinator == "node07:77"
    seen(SLURM, JAX_COORDINATOR_ADDRESS="10.0.0.1:88")
    assert find().coordinator == "10.0.0.1:88"


def test_one_task_of_slurm_is_alone_whatever_the_job_has(seen):
    seen(SLURM, SLURM_STEP_NUM_TASKS="1", SLURM_NTASKS="1", SLURM_PROCID="0")  # srun -n 1
    assert find() is None
    seen(SLURM, SLURM_STEP_NUM_TASKS="1", SLURM_PROCID="0")  # the shell of salloc
    assert find() is None
    batch = {"SLURM_STEP_NODELIST": None, "SLURM_STEP_NUM_TASKS": None, "SLURM_PROCID": "0"}
    seen({**SLURM, **batch})  # the batch script itself
    assert find() is None


@pytest.mark.parametrize(
    ("visible", "tasks", "mine"),
    [
        ("0,1,2,3", "4(x2)", (2,)),  # one each
        ("0,1,2,3,4,5,6,7", "4(x2)", (4, 5)),  # the third pair
        ("3", "4(x2)", None),  # bound by SLURM: --gpus-per-task=1
        ("0,1,2,3", "4,1", None),  # alone on its node: all
        (None, "4(x2)", (2,)),
        (None, None, (2,)),
    ],
)
def test_each_process_takes_its_own_gpus(seen, visible, tasks, mine):
    seen(SLURM, CUDA_VISIBLE_DEVICES=visible)
    if tasks is None:
        os.environ.pop("SLURM_STEP_TASKS_PER_NODE")
    else:
        os.environ["SLURM_STEP_TASKS_PER_NODE"] = tasks
    assert find().devices == mine


def test_gpus_that_do_not_divide_are_refused(seen):
    seen(SLURM, CUDA_VISIBLE_DEVICES="0,1,2,3,4,5")
    with pytest.raises(ValueError, match="4 processes on this node share 6 GPUs"):
        find()


def test_open_mpi(seen):
    seen(MPI)
    port = 1531576320 // 4096 % 4096 + 65535 - 4095
    assert find() == Job("Open MPI", f"10.96.0.1:{port}", 4, 3, (1,))
    seen(SLURM, MPI)  # mpirun in a SLURM job: SLURM's are those of its daemons
    assert find().launcher == "Open MPI"
    seen(MPI, OMPI_COMM_WORLD_SIZE="1", OMPI_COMM_WORLD_RANK="0")
    assert find() is None


def test_open_mpi_5_needs_an_address(seen):
    newer = {k: v for k, v in MPI.items() if "orte" not in k}
    seen(newer)
    with pytest.raises(ValueError, match="mpirun -x JAX_COORDINATOR_ADDRESS=host:port"):
        find()
    seen(newer, JAX_COORDINATOR_ADDRESS="10.0.0.1:88")
    assert find() == Job("Open MPI", "10.0.0.1:88", 4, 3, (1,))


@pytest.fixture
def tpu(seen, monkeypatch):
    from jax._src.clusters import cloud_tpu_cluster

    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    return lambda **more: seen(JAX_PLATFORMS="tpu,cpu", TPU_SKIP_MDS_QUERY="1", **more)


def test_hosts_of_a_tpu_slice(tpu):
    own = {"MEGASCALE_NUM_SLICES": "", "MEGASCALE_COORDINATOR_ADDRESS": "localhost"}
    tpu(TPU_WORKER_HOSTNAMES="localhost,b,c,d", TPU_WORKER_ID="2", **own, MEGASCALE_SLICE_ID="0")
    os.environ["MEGASCALE_NUM_SLICES"] = "2"
    os.environ["MEGASCALE_SLICE_ID"] = "1"
    assert find() == Job("the TPU slice", "localhost:8482", 8, 6)


def test_a_slice_of_one_host_is_alone(tpu):
    tpu(TPU_WORKER_HOSTNAMES="localhost", TPU_WORKER_ID="0", MEGASCALE_NUM_SLICES="1")
    assert find() is None


def test_a_cpu_run_on_a_tpu_host_does_not_join_the_slice(tpu):
    tpu(TPU_WORKER_HOSTNAMES="localhost,b", TPU_WORKER_ID="0")
    os.environ["JAX_PLATFORMS"] = "cpu"
    assert find() is None


WRONG = {
    "half": ({**EXPLICIT, "JAX_PROCESS_ID": None}, "JAX_PROCESS_ID missing; seen: .*JAX_NUM_PROC"),
    "address alone": (
        {"JAX_COORDINATOR_ADDRESS": "a:1"},
        "JAX_NUM_PROCESSES, JAX_PROCESS_ID missing; seen: JAX_COORDINATOR_ADDRESS=a:1",
    ),
    "too high": ({**EXPLICIT, "JAX_PROCESS_ID": "2"}, "JAX_PROCESS_ID=2 is not below JAX_NUM_PRO"),
    "no number": ({**EXPLICIT, "JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is 'two'"),
    "no port": ({**EXPLICIT, "JAX_COORDINATOR_ADDRESS": "host"}, "'host', expected host:port"),
    "a container hides some": ({**SLURM, "SLURM_PROCID": None}, "by SLURM: SLURM_PROCID missing"),
    "no step": (
        {**SLURM, "SLURM_STEP_NODELIST": None},
        "by SLURM: SLURM_STEP_NODELIST missing; seen: .*SLURM_PROCID=6",
    ),
    "rank hidden": ({**MPI, "OMPI_COMM_WORLD_RANK": None}, "by Open MPI: OMPI_COMM_WORLD_RANK mis"),
}


@pytest.mark.parametrize(("variables", "said"), WRONG.values(), ids=WRONG)
def test_what_does_not_hold_is_said_with_what_was_seen(seen, variables, said):
    seen(variables)
    with pytest.raises(ValueError, match=said):
        find()
