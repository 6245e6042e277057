"""Configs as the command line gives them: --config=FILE.py[:variant] and --config.x.y=…."""

from absl import flags
from ml_collections import config_flags

from jaxcell import config


def config_path(argv):
    """What --config names, '' where it is absent, and the arguments without it."""
    for i, text in enumerate(argv):
        name, sign, value = text.partition("=")
        if name in ("--config", "-config"):
            rest = argv[:i] + argv[i + (1 if sign else 2) :]
            return (value if sign else next(iter(argv[i + 1 : i + 2]), "")), rest
    return "", argv


def parse(values, argv):
    """Parse flags; what is wrong with them is one line.

    Parameters
    ----------
    values : absl FlagValues, or what takes argv as they do
    argv : with the program's name first

    Returns
    -------
    what ``argv`` holds beside flags

    Raises
    ------
    ValueError
        For unknown flags, mistyped fields or values, a config that is not there.
    """
    try:
        return values(argv)
    except flags.Error as error:
        # What a config file raises comes with its traceback; what it says is the last line.
        said = str(error).strip()
        said = said.splitlines()[-1] if "Traceback" in said else said
        raise ValueError(said.removeprefix("ValueError: ")) from None
    except (KeyError, AttributeError, IndexError, TypeError, ValueError, OSError) as error:
        # From ml_collections: a mistyped field or value, a config that is not there.
        raise ValueError(f"--config: {error}") from None


def read(path, fields=()):
    """The config of ``FILE.py[:variant]`` with fields changed, ('--config.mesh.fsdp=4', …).

    Raises
    ------
    ValueError
        As ``parse``; for an argument that is no field of the config.
    """
    return changed(config.load(path), fields)


def changed(c, fields=()):
    """A config with fields changed, ('--config.mesh.fsdp=4', …).

    Raises
    ------
    ValueError
        As `read`.
    """
    argv, values = ["jaxcell", *fields], flags.FlagValues()

    def parsed(argv):
        config_flags.DEFINE_config_dict("config", c, flag_values=values, sys_argv=argv)
        return values(argv)

    left = parse(parsed, argv)[1:]
    if left:
        raise ValueError(f"found {' '.join(left)}, expected --config.FIELD=VALUE")
    return values.config
