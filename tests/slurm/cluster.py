"""A real Slurm on this machine: munged, mariadbd, slurmdbd, slurmctld and a slurmd a node, without systemd.

Everything lies in one folder, ports are free ones, and each daemon is stopped by the process that was started. It needs
root and Debian's packages, see install.sh.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd")
# Where Slurm looks for its configuration; jobs of Snakemake's executor have no SLURM_CONF.
CONFIGURED = Path("/etc/slurm/slurm.conf")
# Beside the configuration: the process of the tests that wrote it.
OWNER = "owner.pid"
SECONDS_TO_START = 60

SLURM_CONF = """
ClusterName=cohortreg
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobRequeue=1
# Each node claims more memory than this machine may have: the profile's jobs ask for it, and need little.
SlurmdParameters=config_overrides
KillWait=5
ReturnToService=2
SchedulerParameters=sched_min_interval=100000
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd_port}
AccountingStoragePass={folder}/munge.socket
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
{gres_types}
{nodes}
# A job of the partition urgent takes a node from one of main, which Slurm starts again.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=2 MaxTime=INFINITE State=UP
"""

NODE_CONF = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=100000"
    " {gres} State=UNKNOWN"
)

SLURMDBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={slurmdbd_port}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""


def missing() -> str:
    """Why no cluster can be started here; empty where it can."""
    if os.geteuid() != 0:
        return "Slurm is started as root"
    if os.path.lexists(CONFIGURED) and not _left_over(CONFIGURED):
        return f"{CONFIGURED}: this machine has a Slurm of its own"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return (
        f"{', '.join(absent)}: not installed; tests/slurm/install.sh installs Slurm on Debian"
        if absent
        else ""
    )


def _left_over(link: Path) -> bool:
    """Whether it belongs to a run of these tests that was killed."""
    try:
        owner = (link.readlink().parent / OWNER).read_text()
    except FileNotFoundError:
        return link.is_symlink() and not link.exists()
    except OSError:
        return False
    return not Path(f"/proc/{owner}").exists()


@dataclass(frozen=True)
class Job:
    """What Slurm's accounting says about a job; `array` where it is one of an array. Memory in MB, time in minutes."""

    number: str
    array: bool
    rule: str
    state: str
    memory: int
    minutes: int
    cpus: int
    gpus: int

    @classmethod
    def of(cls, row: dict[str, str]) -> "Job":
        """From a row of sacct."""
        asked = dict(part.split("=") for part in row["ReqTRES"].split(","))
        return cls(
            number=row["JobID"],
            array="_" in row["JobID"],
            rule=row["Comment"].removeprefix("rule_").partition("_wildcards_")[0],
            state=row["State"].split()[0],
            memory=_megabytes(asked["mem"]),
            minutes=int(row["TimelimitRaw"]),
            cpus=int(asked["cpu"]),
            gpus=int(asked.get("gres/gpu", 0)),
        )


def _megabytes(text: str) -> int:
    return round(float(text[:-1]) * {"M": 1, "G": 1024, "T": 1024**2}[text[-1]])


@dataclass(frozen=True)
class Cluster:
    """A running cluster, and the folder of its logs."""

    folder: Path

    def run(self, *command: str, check: bool = True, **options) -> str:
        """What a command prints on this cluster."""
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def jobs(self, folder: Path) -> list["Job"]:
        """Jobs submitted from a folder, oldest first, as Slurm's accounting knows them."""
        fields = ("JobID", "Comment", "State", "ReqTRES", "TimelimitRaw", "WorkDir")
        listed = self.run(
            "sacct", "--allocations", "--parsable2", "--noheader", f"--format={','.join(fields)}"
        )
        rows = [dict(zip(fields, row.split("|"), strict=True)) for row in listed.splitlines()]
        # The accounting has the comments of jobs that ended, the queue those of the others.
        queued = self.run("squeue", "--noheader", "--array", "--format=%i|%k").splitlines()
        comments = dict(row.split("|", 1) for row in queued)
        for row in rows:
            row["Comment"] = row["Comment"] or comments.get(row["JobID"], "")
        return [Job.of(row) for row in rows if row["WorkDir"] == str(folder)]


@contextlib.contextmanager
def started(folder: Path, gpus: int = 1, nodes: int = 1) -> Iterator[Cluster]:
    """A cluster in an empty folder, each node with so many plain files in the place of GPUs; stopped at the end."""
    names = [f"node{number + 1}" for number in range(nodes)]
    ports = _free_ports("slurmctld", "slurmdbd", "mariadb", *names)
    node = {
        "host": socket.gethostname(),
        "cpus": os.cpu_count(),
        "gres": f"Gres=gpu:{gpus}" if gpus else "",
    }
    values = {
        "folder": folder,
        "host": socket.gethostname(),
        "gres_types": "GresTypes=gpu\nAccountingStorageTRES=gres/gpu" if gpus else "",
        "nodes": "\n".join(NODE_CONF.format(name=name, port=ports[name], **node) for name in names),
        **{f"{name}_port": port for name, port in ports.items()},
    }
    _write(folder / "slurm.conf", SLURM_CONF.format(**values))
    _write(folder / "slurmdbd.conf", SLURMDBD_CONF.format(**values))
    files = [folder / f"gpu{n}" for n in range(gpus)]
    for file in files:
        file.touch()
    _write(folder / "gres.conf", "\n".join(["AutoDetect=off", *(f"Name=gpu File={file}" for file in files)]))
    for name in ("state", *names):
        (folder / name).mkdir()
    # Daemons look for their other files beside this one.
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    cluster = Cluster(folder)
    _write(folder / OWNER, str(os.getpid()))
    with contextlib.ExitStack() as daemons:
        CONFIGURED.parent.mkdir(exist_ok=True)
        CONFIGURED.unlink(missing_ok=True)
        CONFIGURED.symlink_to(folder / "slurm.conf")
        daemons.callback(CONFIGURED.unlink)
        daemons.enter_context(_munge(folder))
        daemons.enter_context(_mariadb(folder, ports["mariadb"]))
        daemons.enter_context(_daemon(["slurmdbd", "-D"], folder, environment))
        _wait(
            lambda: cluster.run("sacctmgr", "--immediate", "add", "cluster", "cohortreg"), "slurmdbd", folder
        )
        cluster.run("sacctmgr", "--immediate", "add", "account", "knees", "cluster=cohortreg")
        cluster.run("sacctmgr", "--immediate", "add", "user", "root", "account=knees")
        daemons.enter_context(_daemon(["slurmctld", "-D"], folder, environment))
        for name in names:
            daemons.enter_context(_daemon(["slurmd", "-D", "-N", name], folder, environment, name))
        _wait(lambda: _idle(cluster), names[-1], folder)
        try:
            yield cluster
        finally:
            cluster.run("scancel", "--user=root", "--full", "--signal=KILL", check=False)


def _munge(folder: Path) -> contextlib.AbstractContextManager:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    files = {
        "socket": "munge.socket",
        "key-file": "munge.key",
        "log-file": "munge.log",
        "pid-file": "munge.pid",
    }
    files |= {"seed-file": "munge.seed"}
    options = [f"--{option}={folder / file}" for option, file in files.items()]
    # Where temporary folders lie, others may write; munged would refuse that.
    return _daemon(["munged", "--foreground", "--force", *options], folder, os.environ)


@contextlib.contextmanager
def _mariadb(folder: Path, port: int) -> Iterator[None]:
    data = folder / "mariadb"
    options = ["--no-defaults", f"--datadir={data}"]
    install = ["mariadb-install-db", *options, "--user=root", "--auth-root-authentication-method=normal"]
    subprocess.run(install, check=True, capture_output=True)
    files = [f"--socket={folder}/mariadb.socket", f"--pid-file={folder}/mariadb.pid"]
    network = ["--bind-address=127.0.0.1", f"--port={port}"]
    with _daemon(["mariadbd", *options, "--user=root", *files, *network], folder, os.environ):
        client = ["mariadb", "--no-defaults", f"--socket={folder}/mariadb.socket", "--user=root", "--execute"]
        user = "'slurm'@'127.0.0.1'"
        grant = f"create user {user} identified by 'slurm'; grant all on slurm.* to {user};"
        _wait(lambda: subprocess.run([*client, grant], check=True, capture_output=True), "mariadbd", folder)
        yield


@contextlib.contextmanager
def _daemon(command: list[str], folder: Path, environment: dict[str, str], name: str = "") -> Iterator[None]:
    """A program that stays in the foreground, until the end; what it prints goes to {name}.out, or its own name's."""
    with (folder / f"{name or command[0]}.out").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=folder)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _idle(cluster: Cluster) -> None:
    if cluster.run("sinfo", "--noheader", "--partition=main", "--format=%T").split() != ["idle"]:
        raise RuntimeError("not every node is idle yet")


def _wait(attempt, daemon: str, folder: Path) -> None:
    """Until an attempt raises nothing; what the daemon said where that takes too long."""
    end = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            attempt()
            return
        except (RuntimeError, subprocess.CalledProcessError) as error:
            if time.monotonic() > end:
                said = [
                    (folder / file).read_text("utf-8", "replace")[-2000:] for file in _logs(daemon, folder)
                ]
                raise RuntimeError(f"{daemon} did not start: {error}\n{''.join(said)}") from None
        time.sleep(0.5)


def _logs(daemon: str, folder: Path) -> list[str]:
    return [file for file in (f"{daemon}.out", f"{daemon}.log") if (folder / file).exists()]


def _free_ports(*names: str) -> dict[str, int]:
    with contextlib.ExitStack() as sockets:
        opened = [sockets.enter_context(socket.socket()) for _ in names]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(names, opened, strict=True)}


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    # slurmdbd refuses a file that others may read: it holds a password.
    path.chmod(0o600)
