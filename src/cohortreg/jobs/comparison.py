"""What figures and pages show of a cohort's results, read for them."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from cohortreg.config import Configuration, Model
from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import read_table
from cohortreg.evaluation.measures import measures_with
from cohortreg.files import read_json
from cohortreg.images.image import Image
from cohortreg.images.io import read_image, read_label
from cohortreg.jobs.registered import read_registered, transform_path
from cohortreg.jobs.sidecars import read_sidecar
from cohortreg.layout import Layout
from cohortreg.maps.transforms import Transform
from cohortreg.report.comparison import Comparison
from cohortreg.report.figures.charts import CURVES


class OnDisk:
    """A cohort's images, transforms and trainings, see `report.comparison.Source`."""

    def __init__(self, layout: Layout):
        self.layout = layout

    def image(self, image_id: str) -> Image:
        """Read a preprocessed image."""
        return read_image(self.layout.image(image_id))

    def labels(self, *image_ids: str) -> tuple[Image, ...] | None:
        """Read the labels of images; None unless all have one."""
        paths = [self.layout.label(image_id) for image_id in image_ids]
        return tuple(map(read_label, paths)) if all(path.is_file() for path in paths) else None

    def is_mirrored(self, image_id: str) -> bool:
        """Whether preprocessing mirrored an image."""
        present = self.layout.sidecar(image_id).is_file()
        return present and bool(read_sidecar(self.layout, image_id).get("mirrored"))

    def has_transform(self, method: str, moving: str, fixed: str) -> bool:
        """Whether a pair has a transform by a method."""
        return transform_path(self.layout, method, moving, fixed).is_file()

    def transform(self, method: str, moving: str, fixed: str) -> Transform:
        """Read a pair's transform, from the fixed to the moving image."""
        return read_registered(self.layout, method, moving, fixed)

    def histories(self, models: Mapping[str, Model]) -> dict[str, list[pd.DataFrame]]:
        """Read the training histories of all stages of the models, as far as there are any."""
        histories = {}
        for model, settings in models.items():
            paths = (self.layout.history(model, stage) for stage in range(1, len(settings.stages) + 1))
            read = partial(read_table, columns=["step", *CURVES], command="`cohortreg train`", texts={})
            if stages := [read(path) for path in paths if path.exists()]:
                histories[model] = stages
        return histories

    def card(self, model: str, stage: int) -> dict[str, Any] | None:
        """Read the card of a trained stage; None where there is none."""
        path = self.layout.model_card(model, stage)
        return read_json(path) if path.exists() else None

    def summary(self) -> dict[str, Any]:
        """Read the summary of the cohort."""
        return read_json(self.layout.cohort, "`cohortreg cohort`")

    def in_short(self, error: UserError) -> str:
        """The message of an error, with paths relative to the results."""
        return str(error).replace(f"{self.layout.root}/", "")


def read_comparison(layout: Layout, config: Configuration) -> Comparison:
    """Read the tables of a cohort.

    Raises:
        UserError: One is missing, damaged or of an earlier version.
    """
    measures = measures_with(config.measures)
    columns = {
        layout.pairs_table: [measure.column for measure in measures],
        layout.methods_table: [measure.mean for measure in measures],
        layout.sets_table: [measure.mean for measure in measures if measure.by_set],
    }
    for path in columns:
        if not path.is_file():
            raise UserError(f"{path} is missing; run `cohortreg tables` again.")
    tables = [read_table(path, needed, "`cohortreg tables`") for path, needed in columns.items()]
    return Comparison(OnDisk(layout), config, *tables)
