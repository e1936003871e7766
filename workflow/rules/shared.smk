# What the workflow of a cohort and that of the paper share.
import os
import sys
from importlib.metadata import distribution
from pathlib import Path

from snakemake.settings.types import DeploymentMethod

from cohortreg import config as configuration
from cohortreg.errors import UserError
from cohortreg.extras import require, requirement
from cohortreg.jobs.settings_files import SettingsFiles

try:
    require("the workflow", "workflow")
except UserError as error:
    sys.exit(f"cohortreg: {error}")

# The commands of this very installation, also where its environment is not activated.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

# What `--sdm conda` would make; without it, rules run in the environment that Snakemake itself runs in.
ENVIRONMENT = "../envs/cohortreg.yaml"
if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
    os.environ.update(COHORTREG_REQUIREMENT=requirement(distribution("cohortreg")))


# What jobs run in with `--sdm apptainer`: docs/cluster.md says how to build it.
container: "cohortreg.sif"


WARNINGS = [
    sentence for file in workflow.overwrite_configfiles for sentence in configuration.repeated_keys(file)
]


def show_warnings():
    """Print what may be wrong with what was given, in a dry run as well."""
    if workflow.is_main_process:
        for warning in WARNINGS:
            print(f"cohortreg: warning: {warning}", file=sys.stderr)


def more(amount):
    """A resource that a job was too short of asks for more at each retry."""
    return lambda wildcards, attempt: amount * attempt


def as_it_is(path):
    """A path of the configuration, which is no pattern of Snakemake's whatever braces it has."""
    return lambda wildcards: path or []


def mode():
    """What this process of Snakemake does: it runs the workflow, shows what a run would do, or does a job of it."""
    if not workflow.is_main_process:
        return "job"
    return "run" if workflow.executor_plugin is not None and not workflow.dryrun else "show"


def require_targets():
    """End in an error if a file that was asked for is not there.

    Once in a hundred runs after a kill, Snakemake (9.27) was done with nothing left to do, and a target was missing.
    """
    if absent := missing_targets():
        sys.exit(f"cohortreg: {absent[0]} was asked for and is not there; run the same command again.")


def missing_targets():
    """The files that this run was asked for and that are not there."""
    dag = workflow.dag
    # With --until the last jobs of the part, with --omit-from and --batch those of the targets that are left.
    left = {*dag.jobs}
    wanted = {file for job in dag.targetjobs if job in left for file in job.output or job.input}
    if not (dag.untilrules or dag.untilfiles or dag.omitrules or dag.omitfiles):
        wanted |= {*dag.targetfiles}
        for asked_for in dag.targetrules:
            wanted |= {file for file in asked_for.output if not asked_for.wildcard_names}
    return sorted(str(file) for file in wanted if not os.path.exists(file))
