"""The formats of exports."""

from typing import Literal, get_args

Format = Literal["webdataset", "parquet", "lance"]
FORMATS: tuple[Format, ...] = get_args(Format)
