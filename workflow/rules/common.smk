# What the rules of a cohort share: the validated configuration and tables, and the functions of their inputs.
import re
import shlex
from types import SimpleNamespace

from snakemake.exceptions import IncompleteCheckpointException

from cohortreg.importers.folders import counted
from cohortreg.cohort.shards import row_digest, rows_made, shard_of, shards_of
from cohortreg.jobs.training_sets import keeps_training
from cohortreg.cohort.tables import leak_warnings, read_images, read_pairs, read_ratings, require_training
from cohortreg.digests import digest
from cohortreg.files import read_json, read_kept
from cohortreg.layout import Layout
from cohortreg.model_files import CARD, WEIGHTS
from cohortreg.inputs import require_root
from cohortreg.methods import registry
from cohortreg.methods.cards import init_of, packages_of
from cohortreg.jobs.places import (
    check_places,
    missing_files,
    phantoms_made,
)
from cohortreg.report.figures.registry import FIGURES


wildcard_constraints:
    method="[^/]+",
    model="[^/]+",
    shard=r"\d+",
    stage=r"\d+",
    training_set="[0-9a-f]+",


try:
    # What config/config.yaml names runs where no file is given; a workflow that has this one as a module may name it too.
    named = config.pop("configfile", None)
    if named and not workflow.overwrite_configfiles:
        config = configuration.merge(configuration.merged(Path(named)), config)
    settings = registry.read(config)
    if workflow.is_main_process:
        registry.check(settings)
    images = read_images(settings.images)
    pairs = read_pairs(settings.pairs, images)
    if settings.ratings:
        read_ratings(settings.ratings)
    layout = Layout(Path("results") / settings.cohort)
    root = configuration.expand_root(settings.root)
    if workflow.is_main_process:
        trained = configuration.trained_methods(settings.models)
        require("the report", "report")
        if not trained.keys().isdisjoint(settings.methods):
            require("training", "train")
            if settings.training.logger == "tensorboard":
                require("training.logger: tensorboard", "tensorboard")
        require_training(settings.images, images, [row for row in settings.methods if row in trained])
        check_places(settings, images, root, layout)
        if not settings.phantom:
            require_root(root)
except UserError as error:
    sys.exit(f"cohortreg: {error}")

# Rows whose software is not installed are left out, and the others go on.
MISSING = registry.missing(settings)
METHODS = [method for method in settings.methods if method not in MISSING]
if settings.report.reference in MISSING:
    sys.exit(f"cohortreg: configuration: report.reference: {MISSING[settings.report.reference]}")

# What jobs are asked for, without the rows that are left out.
CONFIGURED = settings.plain() | {"methods": METHODS}

WARNINGS += [*leak_warnings(images, pairs), *MISSING.values(), *registry.warnings(settings)]
if workflow.is_main_process and not settings.phantom:
    WARNINGS += missing_files(images, root)
if images["label"].any() and not settings.structures:
    WARNINGS.append("images have labels, but structures names none of their values: no Dice is measured.")

# What pairs are measured by besides, as jobs are told, and as the captions of Snakemake's report say it.
MEASURED = registry.measured(settings) if workflow.is_main_process else {}
if MEASURED:
    from cohortreg.evaluation.measures import OTHERS, in_captions

    others = [OTHERS[name] for name in settings.measures]
    config["of_other_packages"] = {"pairs": in_captions(others, True), "methods": in_captions(others, False)}

images["shard"] = [shard_of(image, shards=settings.shards.images) for image in images["image_id"]]
IMAGE_SHARDS = sorted(images["shard"].unique())
PAIR_SHARDS = shards_of(pairs, settings.shards.pairs)

# Methods of the configuration that need training, each with its model and stage.
TRAINED = {
    method: stage
    for method, stage in configuration.trained_methods(settings.models).items()
    if method in METHODS
}

# Models to train, each with the last of its stages that a method needs.
LAST_STAGES = dict(sorted(TRAINED.values()))
MODELS = list(LAST_STAGES)

# Those that they start from, by name.
INITS = {name: init_of(folder) for name, folder in settings.inits_to_train().items() if name in MODELS}

# Methods that are faster with a GPU: those that run networks, and fit.
ACCELERATED = [method for method in METHODS if registry.accelerated(method)]

# Training curves that the figures show: of every stage up to the last that a method needs.
HISTORIES = [
    layout.history(model, stage) for model, last in LAST_STAGES.items() for stage in range(1, last + 1)
]


def one_of(names):
    """A wildcard's pattern: one of these names, or none where there is none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


# What each job is asked for, beside its files.
settings_file = SettingsFiles(layout, mode)


def settings_of(rule, made, *keys, **more):
    """Settings of a rule's only job, which makes that file: the named parts of the configuration, and more."""
    return lambda wildcards: settings_file(
        made.is_file(), rule, **{key: CONFIGURED[key] for key in keys if key in CONFIGURED}, **more
    )


def phantom_settings(wildcards):
    """How images are made."""
    made = phantoms_made(layout.phantoms(wildcards.shard), root)
    return settings_file(made, "phantom", wildcards.shard, **CONFIGURED["phantom"])


def phantoms(wildcards):
    """The record of a shard's images, where the project makes them; others' are watched by `image_rows`, which lets go of
    images that are removed."""
    return layout.phantoms(wildcards.shard) if settings.phantom else []


def all_phantoms(wildcards):
    """The records of all images that the project makes."""
    return [layout.phantoms(shard) for shard in IMAGE_SHARDS] if settings.phantom else []


def preprocess_settings(wildcards):
    """How images are preprocessed, and which."""
    return settings_file(
        layout.image_shard(wildcards.shard).is_file(),
        "preprocess",
        wildcards.shard,
        preprocess=CONFIGURED["preprocess"],
        structures=settings.structures,
        root=settings.root,
        rows=image_rows(wildcards),
        on_bad_image=settings.on_bad_image,
    )


def check_settings(wildcards):
    """How images would be preprocessed, and which."""
    return settings_file(
        layout.check.table.is_file(),
        "check",
        preprocess=CONFIGURED["preprocess"],
        structures=settings.structures,
        root=settings.root,
        rows=checked_rows(),
    )


def cohort_settings(wildcards):
    """How a cohort is gathered."""
    tables = [layout.images, layout.pairs, layout.excluded, layout.cohort]
    tables += [*map(layout.pair_shard, PAIR_SHARDS), *map(layout.model_training, MODELS)]
    return settings_file(
        all(path.is_file() for path in tables),
        "cohort",
        name=settings.cohort,
        models=MODELS,
        ratings=settings.ratings,
        **({"inits": INITS} if INITS else {}),
        **{key: CONFIGURED[key] for key in ("shards", "retrain", "exclude_rated")},
    )


def image_rows(wildcards):
    """Digest of a shard's images, so that no other row of the table matters.

    A shard that lost images stays as it was made: there is nothing to preprocess.
    """
    rows = images[images["shard"] == int(wildcards.shard)].to_dict("records")
    wanted = {row_digest(row, None if settings.phantom else root) for row in rows}
    made = rows_made(layout.image_shard(wildcards.shard))
    return digest(*sorted(made if wanted <= made else wanted))


def checked_rows():
    """Digest of all images, in the table's order, and of their files."""
    rows = images.to_dict("records")
    return digest(*(row_digest(row, None if settings.phantom else root) for row in rows))


#: What Snakemake said about the cohort, by the number of files that checkpoints had written then.
GATHERED = {}


def gathered():
    """Go on once the cohort was gathered; until then, raise what makes Snakemake wait for it.

    Snakemake names all files of a checkpoint each time it is asked, which took half of the plan of a million pairs.
    """
    written = len(checkpoints.created_output)
    if written not in GATHERED:
        try:
            checkpoints.cohort.get()
            GATHERED[written] = None
        except IncompleteCheckpointException as waits:
            GATHERED[written] = waits
    if GATHERED[written]:
        raise GATHERED[written].with_traceback(None)


def pair_shard(wildcards):
    """A shard's pairs, as they are once the cohort was gathered."""
    gathered()
    return layout.pair_shard(wildcards.shard)


def training_of(model):
    """On what a model is trained, and with what its training starts, as it is once the cohort was gathered."""
    path = layout.model_training(model)
    table = images if settings.retrain and preprocessed() else None
    if not keeps_training(layout, model, settings.retrain, settings.preprocess, table, INITS.get(model)):
        gathered()
    return read_json(path)


def preprocessed():
    """Whether every shard of the images is up to date."""
    for shard in map(str, IMAGE_SHARDS):
        wildcards = SimpleNamespace(shard=shard)
        made_from = [preprocess_settings(wildcards)]
        if settings.phantom:
            made_from += [phantom_settings(wildcards), phantoms(wildcards)]
        if not is_newer(layout.image_shard(shard), *map(Path, made_from)):
            return False
    return True


def is_newer(made, *sources):
    """Whether a file is there, and none of its sources is missing or younger."""
    return made.is_file() and all(
        source.is_file() and source.stat().st_mtime_ns <= made.stat().st_mtime_ns for source in sources
    )


def until_last_stages():
    """Let `--until train` end with each model's last stage.

    Of a rule that is named so, Snakemake (9.27) looks at nothing that follows one of its jobs, were it its next job, and
    does not see that its files are missing where nothing else asks for them.
    """
    dag = workflow.dag
    if "train" in dag.untilrules:
        weights = {str(layout.weights(*last)) for last in LAST_STAGES.items()}
        dag.untilrules = dag.untilrules - {"train"}
        dag.untilfiles = dag.untilfiles | weights
        dag.targetfiles = dag.targetfiles | weights


def training_input(wildcards):
    """What a model is trained on. An array made anew is the same; so is a list, or the settings say so."""
    until_last_stages()  # the first that is known of the graph
    training = training_of(wildcards.model)
    files = {"training": layout.model_training(wildcards.model)}
    for name in ("training_set", "validation_set"):
        if name in training:
            files[name] = layout.packed(training[name])
            files[f"{name}_index"] = layout.packed_index(training[name])
    return {name: ancient(path) for name, path in files.items()}


def previous_weights(wildcards):
    """Weights of the stage that a stage goes on from."""
    before = int(wildcards.stage) - 1
    return layout.weights(wildcards.model, before) if before else []


def model_folder(method):
    """Folder of the trained stage or the imported model that a method needs; None for a method without one."""
    if (name := method.removesuffix(configuration.FITTED)) in settings.pretrained:
        return Path(settings.pretrained[name])
    return layout.stage(*TRAINED[method]) if method in TRAINED else None


def method_model(wildcards):
    """What a method loads."""
    folder = model_folder(wildcards.method)
    return [folder / WEIGHTS, folder / CARD] if folder else []


def register_settings(wildcards):
    """What a method needs to know: of networks which, where and how precisely they compute; of others, and of fit behind
    networks, their settings. Besides, of which release of each method its results are.

    How networks were trained changes no registration but by their weights.
    """
    method, shard = wildcards.method, wildcards.shard
    name = f"{method}-{shard}"
    # Transforms that were deleted after they were evaluated stay deleted.
    deleted = not layout.transforms(method).is_dir() and layout.evaluated_shard(method, shard).is_file()
    made = deleted or layout.registered_shard(method, shard).is_file()
    folder, refined = model_folder(method), method.endswith(configuration.FITTED)
    learned = None
    if folder:
        model = settings.models.get(TRAINED[method][0]) if method in TRAINED else None
        learned = model.method if model else read_json(folder / CARD).get("method", "icon")
    needed = {"releases": registry.releases(method, learned) + registry.packages(method, settings)}
    if folder:
        needed["model"] = str(folder)
    if refined or not folder:
        needed["method_settings"] = settings.method_settings.get("fit" if refined else method, {})
    if method in ACCELERATED:
        names = ("accelerator", "precision") if folder else ("accelerator",)
        needed["training"] = {key: CONFIGURED["training"][key] for key in names}
    if method.endswith(configuration.OPTIMISED):
        needed["optimisation"] = CONFIGURED["models"][TRAINED[method][0]]["optimisation"]
    return settings_file(made, "register", name, seed=settings.seed, **needed)


def evaluate_settings(wildcards):
    """What is measured."""
    method, shard = wildcards.method, wildcards.shard
    made = layout.evaluated_shard(method, shard).is_file()
    return settings_file(made, "evaluate", f"{method}-{shard}", structures=settings.structures, **MEASURED)


def train_settings(wildcards):
    """The model up to a stage, and how it is trained; neither later stages nor what comes after training matter."""
    model = settings.models[wildcards.model].up_to(int(wildcards.stage))
    images, training = training_of(wildcards.model), dict(CONFIGURED["training"])
    logger = training.pop("logger")
    if "validation_set" not in images:
        training = {key: value for key, value in training.items() if key not in ("validate_every", "keep")}
    return settings_file(
        layout.weights(wildcards.model, wildcards.stage).is_file(),
        "train",
        f"{wildcards.model}-{wildcards.stage}",
        aside={"logger": logger},
        model=model.plain(),
        training=training,
        seed=settings.seed,
        images=images,
        **({"packages": packages} if (packages := packages_of(model, training=True)) else {}),
    )


# Seconds that torchrun's processes have for a checkpoint, once it is asked to end.
PATIENT = "--shutdown-timeout=110"


def launcher(wildcards, resources):
    """What starts a training: on several devices torchrun, a process each; on several nodes torchrun on each of them."""
    devices, nodes = settings.training.devices, settings.training.nodes
    if devices * nodes == 1:
        return ""
    if nodes == 1:
        return f"torchrun --standalone --nproc-per-node={devices} {PATIENT} --no-python "
    # The shell runs on the first node, where the others find each other. Its process's number keeps two trainings apart.
    endpoint = "$(hostname):$((20000 + $$ % 10000))"
    name = f"{wildcards.model}-{wildcards.stage}"
    meeting = f"--rdzv-backend=c10d --rdzv-endpoint={endpoint} --rdzv-id={shlex.quote(name)}"
    each = f"--nnodes={nodes} --nproc-per-node={devices}"
    return f"{resources.get('mpi', 'mpiexec')} torchrun {each} {meeting} {PATIENT} --no-python "


def results_folder(wildcards):
    """The cohort's folder of results."""
    return layout.root


def excluded_in_words(layout):
    """How many images and pairs are not among the results, such as "1 image and 2 pairs are excluded"; "" where none is."""
    cohort = read_kept(layout.cohort)
    counts = [counted(cohort.get(f"excluded_{what}s", 0), what) for what in ("image", "pair")]
    return "" if counts == ["0 images", "0 pairs"] else f"{' and '.join(counts)} are excluded"
