"""What `train` and `register-shard` take from --settings, which is no section of the configuration."""

from typing import Any, Self

from pydantic import Field

from cohortreg.config.configuration import Configuration
from cohortreg.config.models import FITTED, OPTIMISED, AnyModel, Optimisation, trained_methods
from cohortreg.config.training import Logger, Training
from cohortreg.settings import Settings


class TrainingJob(Settings):
    """A model that is trained, and how."""

    training: Training
    model: AnyModel
    logger: Logger | None = None

    @property
    def logged_training(self) -> Training:
        """How it is trained, with the logger, which is apart since it changes no weights."""
        return self.training.model_copy(update={"logger": self.logger}) if self.logger else self.training


class RegistrationJob(Settings):
    """A row whose pairs are registered: the model that it stands for, and the settings of its method."""

    training: Training = Training()
    model: str | None = None
    method_settings: dict[str, Any] = Field({})
    optimisation: Optimisation | None = None

    @classmethod
    def of(cls, config: Configuration, row: str) -> Self:
        """Return what a configuration says of a row."""
        trained = trained_methods(config.models)
        model = config.models[trained[row][0]] if row in trained else None
        return cls(
            training=config.training,
            model=config.pretrained.get(row.removesuffix(FITTED)),
            method_settings=config.method_settings.get("fit" if row.endswith(FITTED) else row, {}),
            optimisation=getattr(model, "optimisation", None) if row.endswith(OPTIMISED) else None,
        )
