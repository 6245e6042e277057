"""The scripts of launch/: as far as they can be run where there is no cluster."""

import json
import os
import re
import shlex
import signal
import subprocess
import time

import numpy as np
import pytest

from jaxcell.training.checkpoint import load_model
from tests.conftest import ROOT
from tests.many import environment

LAUNCH = ROOT / "launch"
WHAT = [
    "--config=configs/txfm_b.py",
    "--workdir=/shared/runs/b",
    "--config.data.store=/shared/store",
]


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.sh")), ids=lambda p: p.name)
def test_scripts_are_bash(path):
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.access(path, os.X_OK)


def test_the_jobset_has_what_its_processes_need():
    import yaml  # ml_collections brings it

    job = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert job["spec"]["failurePolicy"]["maxRestarts"] > 0
    assert job["spec"]["network"]["enableDNSHostnames"]
    (group,) = job["spec"]["replicatedJobs"]
    inner = group["template"]["spec"]
    # Every pod of one index at a time, and none restarted by itself.
    assert inner["completionMode"] == "Indexed"
    assert inner["completions"] == inner["parallelism"] == 4
    assert (group["replicas"], inner["backoffLimit"]) == (1, 0)
    pod = inner["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 120  # the last step ends and is saved
    (container,) = pod["containers"]
    line = ["python", "-m", "jaxcell.main", *WHAT]
    assert container["command"] == line  # no shell between, so that signals reach it
    env = {one["name"]: one for one in container["env"]}
    host, port = env["JAX_COORDINATOR_ADDRESS"]["value"].split(":")
    assert host == f"{job['metadata']['name']}-{group['name']}-0-0.{job['metadata']['name']}"
    assert int(port) in [one["containerPort"] for one in container["ports"]]
    assert env["JAX_NUM_PROCESSES"]["value"] == str(inner["completions"])
    path = env["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert all(isinstance(one.get("value", ""), str) for one in env.values())
    chips = container["resources"]["limits"]["google.com/tpu"]
    rows, columns = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    assert chips * inner["completions"] == int(rows) * int(columns)
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounts.keys() == {one["name"] for one in pod["volumes"]}
    assert all(a.split("=")[1].startswith(mounts["shared"]) for a in WHAT[1:])


def commands(folder, **scripts):
    """A folder of stand-ins for the commands of a platform, and the PATH with it in front."""
    for name, text in scripts.items():
        path = folder / name
        path.write_text(f"#!/usr/bin/env bash\n{text}")
        path.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_the_tpu_script_starts_one_process_on_every_host(tmp_path):
    """A stand-in for gcloud keeps its arguments; what the hosts would run is then run."""
    told = tmp_path / "told"
    gcloud = f'printf "%s\\0" "$@" > {told}'
    fake = 'printf "%s\\n" "$LIBTPU_INIT_ARGS" "$@"'  # in place of python on the host
    path = commands(tmp_path, gcloud=gcloud, fake=fake)
    argv = ["--config=configs/txfm_b.py", "--workdir=/a b", "--config.labels=('x',)"]
    env = {**os.environ, "PATH": path, "TPU": "t", "ZONE": "z", "PYTHON": str(tmp_path / "fake")}
    env |= {"FOLDER": str(tmp_path / "host"), "LIBTPU_INIT_ARGS": "--one --two"}
    done = subprocess.run([LAUNCH / "tpu_pod.sh", *argv], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = told.read_text().split("\0")[:-1]
    assert found[:7] == ["compute", "tpus", "tpu-vm", "ssh", "t", "--zone=z", "--worker=all"]
    (tmp_path / "host").mkdir()
    line = found[7].removeprefix("--command=")
    subprocess.run(["bash", "-c", line], check=True, timeout=20)
    log, wanted = tmp_path / "host" / "jaxcell.log", ["--one --two", "-m", "jaxcell.main", *argv]
    for _ in range(100):
        if log.exists() and log.read_text().splitlines() == wanted:
            break
        time.sleep(0.1)
    assert log.read_text().splitlines() == wanted
    assert (tmp_path / "host" / "jaxcell.pid").read_text().strip().isdigit()
    assert "kill -TERM $(cat " in done.stdout


def test_the_xpk_line_is_one_command_of_many_words():
    text = (LAUNCH / "xpk.md").read_text()
    (line,) = re.findall(r"xpk workload create --cluster.*?(?=\n```)", text, re.S)
    words = shlex.split(line.replace("\\\n", " "))
    (command,) = [w.removeprefix("--command=") for w in words if w.startswith("--command=")]
    assert shlex.split(command) == ["exec", "python", "-m", "jaxcell.main", *WHAT]


def flags(store, workdir, **fields):
    fields = {"data.store": store.path, "train.log_every": 1, **fields}
    return [
        "--config=configs/txfm_b.py:tiny",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    ]


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_on_one_machine_are_one_run(store, tmp_path):
    """Two of one device each; every line, file and step once."""
    argv = [LAUNCH / "local.sh", "2", *flags(store, tmp_path, steps=2, **{"mesh.fsdp": 2})]
    argv += ["--config.mesh.data=1", "--config.train.gene_errors="]
    done = subprocess.run(
        argv, env=environment(1), capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for once in ("2 processes by explicit variables", "txfm_b_tiny: train in", "attention: cells"):
        assert done.stdout.count(once) == 1
    assert [one["step"] for one in lines(tmp_path) if "train/loss" in one] == [1, 2]
    (session,) = json.loads((tmp_path / "run.json").read_text())["sessions"]
    assert (session["processes"], len(session["devices"])) == (2, 2)
    assert session["mesh"] == {"data": 1, "fsdp": 2, "tensor": 1}
    assert load_model(tmp_path).info["step"] in "12"


@pytest.mark.slow
def test_all_stages_by_two_processes(sources, tmp_path):
    """Process 0 prepares, embeds, evaluates, and looks at AvgBIO; both train; again: skipped."""
    argv = [LAUNCH / "local.sh", "2", "--config=configs/demo.py:tiny", f"--workdir={tmp_path}"]
    fields = {
        "prepare.files": (str(sources[0]),),
        "prepare.labels": ("kind",),
        "prepare.hold_out_fraction": 0.5,
        "embed.input": sources[0],
        "evaluate.label": "kind",
        "best": ("val/avg_bio", "max"),
        "steps": 4,
        "train.validate_every": 2,
    }
    argv += [f"--config.{name}={value}" for name, value in fields.items()]
    more = {"env": environment(1), "capture_output": True, "text": True, "cwd": ROOT}
    done = subprocess.run(argv, **more, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("embeddings: ") == 2
    assert done.stdout.count("report: ") == 1
    assert done.stderr.count("error") == 0
    assert {"results.json", "report.md", "embeddings.h5ad", "gene_errors.tsv"} <= {
        p.name for p in tmp_path.iterdir()
    }
    assert [one["step"] for one in lines(tmp_path) if "val/avg_bio" in one] == [2, 4]
    again = subprocess.run(argv, **more, timeout=600)
    assert again.returncode == 0, again.stderr
    for stage in ("prepare", "embed", "evaluate"):
        assert again.stdout.count(f"{stage}: finished with this config and these files") == 1
    assert again.stdout.count("trained to step 4 already, skipped") == 1


SRUN = """
# Two tasks on this node, as SLURM starts them; status of the worst.
[[ $1 == --kill-on-bad-exit=0 ]] && shift
export SLURM_STEP_NODELIST=localhost SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=2 SLURM_NODEID=0
export SLURM_STEP_TASKS_PER_NODE=2
for i in 0 1; do
  SLURM_PROCID=$i SLURM_LOCALID=$i "$@" > "$FAKE/task$i.log" 2>&1 &
  echo $! > "$FAKE/task$i.pid"
done
worst=0
for i in 0 1; do
  wait "$(cat "$FAKE/task$i.pid")" || { code=$?; ((code > worst)) && worst=$code; }
done
exit $worst
"""


@pytest.mark.slow
def test_a_slurm_job_that_is_asked_to_stop_goes_on_when_it_is_started_again(store, tmp_path):
    """SIGTERM to one of two tasks: both save one step and leave; then as if nothing had been."""
    scontrol = 'echo "$@" >> "$FAKE/scontrol"'
    told = tmp_path / "told"
    told.mkdir()
    path = commands(tmp_path, srun=SRUN, scontrol=scontrol)
    fields = {"steps": 60, "train.validate_every": 30, "train.gene_errors": ""}

    def job(workdir, number):
        more = {"PATH": path, "FAKE": str(told), "SLURM_JOB_ID": str(number)}
        argv = ["bash", LAUNCH / "slurm.sh", *flags(store, workdir, **fields)]
        return subprocess.Popen(argv, env=environment(1, **more), cwd=ROOT)

    def logs():
        return "\n".join((told / f"task{i}.log").read_text() for i in (0, 1))

    halves, whole, port = tmp_path / "halves", tmp_path / "whole", os.getpid() % 4000
    first = job(halves, port)
    journal = halves / "metrics.jsonl"
    for _ in range(2000):
        if journal.exists() and journal.read_text().count("\n") >= 4:
            break
        assert first.poll() is None, logs()
        time.sleep(0.1)
    os.kill(int((told / "task1.pid").read_text()), signal.SIGTERM)
    assert first.wait(timeout=200) == 75, logs()
    assert (told / "scontrol").read_text() == f"requeue {port}\n"
    said = (told / "task0.log").read_text()
    (step,) = re.findall(r"asked to stop: saved step (\d+) of 60", said)
    assert 4 <= int(step) < 60
    assert "asked to stop" not in (told / "task1.log").read_text()
    saved = [int(p.name) for p in (halves / "checkpoints").iterdir() if p.name.isdigit()]
    assert int(step) == max(saved)
    second = job(halves, port + 1)
    assert second.wait(timeout=400) == 0, logs()
    assert "2 processes by SLURM, process 0 at localhost:" in (told / "task0.log").read_text()
    assert f"goes on from step {step} of 60" in (told / "task0.log").read_text()
    assert job(whole, port + 2).wait(timeout=400) == 0, logs()
    assert (told / "scontrol").read_text().count("requeue") == 1
    a, b = load_model(halves), load_model(whole)
    assert a.info == b.info
    assert a.sha256 == b.sha256  # the same mesh: bit for bit
    one, other = (
        {line["step"]: line["train/loss"] for line in lines(w) if "train/loss" in line}
        for w in (halves, whole)
    )
    assert list(one) == list(range(1, 61))
    np.testing.assert_array_equal(list(one.values()), list(other.values()))
