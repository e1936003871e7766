"""The configuration: every key with its type, default, bounds and description; validated once, here.

Nothing that takes time is imported, since the workflow reads it for each of its jobs.
"""

from cohortreg.config.configuration import Configuration, part
from cohortreg.config.files import load, merge, merged, repeated_keys
from cohortreg.config.job_settings import RegistrationJob, TrainingJob
from cohortreg.config.methods import (
    AffineNetworkSettings,
    AvsmSettings,
    LearningSettings,
    MethodSettings,
    VelocitySettings,
    VoxelMorphSettings,
)
from cohortreg.config.models import (
    FITTED,
    LEARNED,
    OPTIMISED,
    AnyModel,
    AvsmModel,
    AvsmStaged,
    IconModel,
    LearningEntry,
    Model,
    Optimisation,
    SettingsStaged,
    Staged,
    VoxelMorphModel,
    VoxelMorphStaged,
    trained_methods,
    with_settings,
)
from cohortreg.config.networks import ARCHITECTURES, AnyNetwork, Network, check_levels, read_network
from cohortreg.config.phantom import Phantom
from cohortreg.config.preprocess import CheckedPreprocess, PairPreprocess, Preprocess
from cohortreg.config.report import Report
from cohortreg.config.resources import Shards
from cohortreg.config.similarities import SIMILARITIES, FieldSimilarity, Similarity, SimilarityEntry
from cohortreg.config.stages import CardStage, IconCardStage, IconStage, Stage, read_steps
from cohortreg.config.training import Logger, Training
from cohortreg.config.values import (
    ACCELERATOR,
    SEED,
    Accelerator,
    Channels,
    Name,
    Path_,
    Positive,
    Ratings,
    Seed,
    Unique,
    expand_root,
    ratings_left_out,
)
