"""What to do about an error, in the words of the caller: options, a manifest's fields, a config's.

The checks of sources and cells are the same for all callers, and advise by the options of
``jaxcell prepare``. Where a manifest or a config takes their place, these are named instead.
"""

import contextlib
import re
from pathlib import Path

_OPTION = re.compile(
    r"(?:jaxcell prepare )?--([a-z]+(?:-[a-z]+)*)( (?=layers/|raw|sum |first |row|col))?"
)
_FILTERS = (
    "min-genes", "max-genes", "min-total", "max-total", "max-mito", "mito-prefix", "min-cells",
    "min-frequency", "min-dispersion",
)  # fmt: skip
FIELDS = {
    **{name: f"filters.{name.replace('-', '_')}" for name in _FILTERS},
    "soma-filter": "value_filter", "soma-measurement": "measurement", "hold-out": "split.hold_out",
    "hvg": "hvg.number", "hvg-flavor": "hvg.flavor", "hvg-batch": "hvg.batch",
    "vocabulary": "vocabulary.file",
    **{
        name: name.replace("-", "_")
        for name in ("counts", "labels", "measured-by", "features", "genes-in", "duplicates",
                     "identifiers", "allow-non-integer", "values", "orthologs", "seed")
    },
}  # fmt: skip
CONFIG = {
    name: f"--config.prepare.{name.replace('-', '_')}"
    for name in ("labels", "hold-out", "hold-out-fraction", "min-genes", "min-cells",
                 "allow-non-integer", "measured-by")
}  # fmt: skip
CONFIG["gene-map"] = "JAXCELL_GENES"


@contextlib.contextmanager
def of_manifest(manifest):
    """Errors inside name fields of a manifest in place of options; None: they stay as they are."""

    def reworded(text):
        text = _OPTION.sub(_named(FIELDS, ": "), text)
        name = Path(manifest).name
        named = re.search(rf"{re.escape(Path(name).stem)}\.ya?ml", text)
        return text if named else f"{name}: {text}"

    with contextlib.nullcontext() if manifest is None else _reworded(reworded):
        yield


@contextlib.contextmanager
def of_config(source):
    """Errors inside name fields of the config for reading a source in place of a store.

    For what these cannot say, a store is to be made of the source.
    """

    def reworded(text):
        text = _OPTION.sub(_named(CONFIG, "="), text)
        left = dict.fromkeys(
            f"--{m[1]}" for m in re.finditer(r"(?<![\w-])--(?!config)([a-z-]+)", text)
        )
        if not left:
            return text
        return (
            f"{text}. {', '.join(left)}: an option of `jaxcell prepare STORE {source}` alone; then "
            "--config.data.store=STORE"
        )

    with _reworded(reworded):
        yield


def _named(fields, sign):
    """What takes the place of an option: its field, and `sign` before a value."""

    def name(found):
        if found[1] not in fields:
            return found[0]
        return fields[found[1]] + (sign if found[2] else "")

    return name


@contextlib.contextmanager
def _reworded(reworded):
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        # Subclasses (of files that are no text, and the like) take more than a message.
        if type(error) not in (ValueError, FileNotFoundError) or len(error.args) != 1:
            raise
        error.args = (reworded(str(error)),)
        raise
