"""Configs as the command line gives them: --config=FILE.py[:variant] and --config.x.y=…."""

import re

from absl import flags
from ml_collections import config_flags

from jaxcell import config
from jaxcell.failures import WrongFlag
from jaxcell.registry import did_you_mean

FIELD = re.compile(r"--?(?:no)?config\.([^=]+)")
MOST = 24  # fields that an error lists
KINDS = {bool: "true or false", int: "a whole number", float: "a number", tuple: "a tuple"}


def read(path, fields=()):
    """The config of ``FILE.py[:variant]`` with fields changed, ('--config.mesh.fsdp=4', …).

    Raises
    ------
    ValueError
        As ``config.load``.
    WrongFlag
        For mistyped fields or values, and for words that are no field.
    """
    return changed(config.load(path), fields)


def changed(c, fields=()):
    """A config with fields changed, ('--config.mesh.fsdp=4', …).

    Raises
    ------
    WrongFlag
        As `read`.
    """
    fields, values = list(fields), flags.FlagValues()
    _check_fields(c, fields)
    argv = ["jaxcell", *fields]
    try:
        config_flags.DEFINE_config_dict("config", c, flag_values=values, sys_argv=argv)
        left = values(argv)[1:]
    except flags.IllegalFlagValueError as error:
        raise WrongFlag(_of_value(c, str(error))) from None
    except (flags.Error, KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise WrongFlag(f"--config: {error}; expected --config.FIELD=VALUE") from None
    if left:
        raise WrongFlag(f"found {' '.join(left)}, expected --config.FIELD=VALUE")
    return values.config


def _check_fields(c, given):
    """Refuse a field that the config does not have, with the one that is meant."""
    leaves = config.flat(c)
    known = {path.rsplit(".", n)[0] for path in leaves for n in range(path.count(".") + 1)}
    for text in given:
        field = FIELD.match(text)
        if field is None or "[" in field[1] or field[1] in known:
            continue
        parent = field[1].rpartition(".")[0]
        beside = [path for path in known if path.rpartition(".")[0] == parent]
        others = [path for path in known if not field[1].startswith(path + ".")]
        near = did_you_mean(field[1], beside) or did_you_mean(field[1], others)
        names = ", ".join(sorted(path.rpartition(".")[2] for path in beside)[:MOST])
        raise WrongFlag(
            f"--config.{field[1]}: the config {c.name} has no such field"
            + (near.replace("mean ", "mean --config.") or (names and f"; beside it are {names}"))
        )


def _of_value(c, said):
    """A wrong value in our words; absl's are: flag --config.model.width=a: invalid literal …"""
    found = re.match(r"flag --config\.([\w.]+)=(.*?): ", said, re.DOTALL)
    if not found:
        return said
    path, value = found.groups()
    default = config.flat(c).get(path)
    inside = [name for name in config.flat(c) if name.startswith(path + ".")]
    if inside:
        return (
            f"--config.{path}: found {value!r}, but this is a block of fields; name one, as "
            f"--config.{inside[0]}=…"
        )
    kind = KINDS.get(tuple if isinstance(default, list) else type(default), "text")
    return f"--config.{path}: found {value!r}, expected {kind}; it is {default!r} in {c.name}"
