"""From blocks of a config to modules, with errors that name the field."""

from torch import nn

from jaxcell.registry import build

# Options that change how a model trains, and not what it computes afterwards.
OF_TRAINING = (
    *("dropout", "dropout_inside", "drop_path", "kernels", "std", "remat", "unroll"),
    *("reverse", "ramp", "detach"),
)


def build_part(table, spec, where, **context):
    """The module ``table[spec['kind']]`` with the other fields of ``spec`` as arguments.

    where : path of ``spec`` below the config's ``model``
    context : further arguments, of which each kind takes those that it knows; ``where`` as path

    Raises
    ------
    ValueError
        An unknown kind or option.
    """
    spec = {name: value for name, value in spec.items() if name not in OF_TRAINING}
    return build(table, spec, f"config.model.{where}", path=where, **context)


def choose(table, name, where):
    """The entry ``name`` of ``table``, or a ValueError that names the field of the config."""
    if name not in table:
        known = ", ".join(sorted(table))
        raise ValueError(f"config.model.{where}: {name!r} is unknown here; known are {known}")
    return table[name]


class Named(nn.ModuleDict):
    """Modules by the names that a config chose, whatever nn.Module calls its own: 'type' too."""

    def add_module(self, name, module):
        """Put a module there."""
        self._modules[name] = module
