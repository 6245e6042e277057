"""Types of what the public functions take, for type checkers and editors."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:  # importing it takes a second
    from anndata import AnnData

StrPath: TypeAlias = str | Path
Cells: TypeAlias = Union["AnnData", StrPath]
Names: TypeAlias = Sequence[str] | StrPath  # themselves, or a file with one a line
