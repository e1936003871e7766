"""What the report shows."""

from typing import Annotated

from pydantic import Field

from cohortreg.config.values import Path_
from cohortreg.settings import Nullable, Settings, Text, Whole


class Report(Settings):
    """what the report shows"""

    reference: Text = Field(
        "affine", description="the method, one of methods, that the others are compared with"
    )
    published: Annotated[Path_ | None, Nullable] = Field(
        None,
        description="path of a table of published results, shown next to the measured ones where its column row "
        "names a method; resources/paper/table2.csv is Table 2 of Greer et al., 2021, on OAI; null if there are "
        "none",
    )
    note: Annotated[Text | None, Nullable] = Field(
        None,
        description="a sentence shown below every table of methods, such as what a run is not good for; null for none",
    )
    pages: Annotated[Whole, Field(ge=0)] = Field(
        100,
        description="how many pairs get a page with their images: the worst by the main method, and always the "
        "best and the median; 0 for none",
    )
