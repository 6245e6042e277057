"""Names in a config → things that are built; closed dicts, loud about what they do not know."""

import difflib
import inspect

SEEDS = 2**32 - 1000  # seeds are below it: several are counted from one on, and 32 bits hold them


def lookup(table, name, where):
    """The entry ``name`` of ``table``; an unknown name is an error that lists the known ones."""
    if name not in table:
        known = ", ".join(sorted(table))
        more = did_you_mean(name, table)
        raise ValueError(f"{where}: {name!r} is unknown; known are {known}{more}")
    return table[name]


def did_you_mean(found, known):
    """A question for the end of an error; '' where no known name is near.

    found : what was given; known : names that would have been right
    """
    near = difflib.get_close_matches(str(found), [str(one) for one in known], n=1)
    return f"; did you mean {near[0]}?" if near and near[0] != found else ""


def build(table, spec, where, **context):
    """Build ``table[spec['kind']]`` with the other fields of ``spec`` as arguments.

    Parameters
    ----------
    table : dict of str to class or function
    spec : mapping with 'kind' and the arguments of what is built
    where : the path of ``spec`` in the config, for error messages
    context : arguments that the caller adds; those that the kind does not take are left out

    Raises
    ------
    ValueError
        For an unknown kind, an unknown argument, or one that is missing.
    """
    arguments = dict(spec)
    if "kind" not in arguments:
        raise ValueError(f"{where}: 'kind' is missing; known are {', '.join(sorted(table))}")
    kind = arguments.pop("kind")
    made = lookup(table, kind, f"{where}.kind")
    parameters = inspect.signature(made).parameters
    # flax modules take parent and name beside their own fields; a config names neither.
    takes = [p for p in parameters if p not in ("parent", "name", "self")]
    unknown = [a for a in arguments if a not in takes]
    if unknown:
        raise ValueError(f"{where}: {kind!r} takes {', '.join(takes)}; not {', '.join(unknown)}")
    given = {k: v for k, v in context.items() if k in parameters}
    clash = sorted(given.keys() & arguments.keys())
    if clash:
        raise ValueError(f"{where}: {', '.join(clash)} of {kind!r} is set elsewhere, not here")
    arguments |= given
    missing = [
        p for p in takes if parameters[p].default is inspect.Parameter.empty and p not in arguments
    ]
    if missing:
        raise ValueError(f"{where}: {kind!r} needs {', '.join(missing)}")
    return made(**arguments)
