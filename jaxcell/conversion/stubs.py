"""What a trainer pickled beside its tensors, read without running any of it.

A pickled object is a call: import this name, call it with these arguments, give it that state.
torch's weights-only reader refuses names that it does not know. Those of the packages below stand
for `Stub` instead, which notes arguments and state and does nothing; their own code is neither
imported nor run. Names of any other package stay refused.
"""

import numbers
from pathlib import PurePosixPath

# Whose objects configs of trainers hold. A name that is not of these is refused.
PACKAGES = (
    *("bmfm_targets", "transformers", "tokenizers", "omegaconf", "pathlib"),
    *("lightning", "lightning_fabric", "lightning_utilities", "pytorch_lightning", "torchmetrics"),
)
# Dicts under another name: the reader puts items into plain ones alone.
MAPPINGS = ("AttributeDict", "defaultdict")
BUILTIN = (
    "collections.defaultdict",
    *(f"builtins.{name}" for name in ("list", "dict", "str", "int", "float", "bool")),
)


class Stub:
    """An object that was not made: the arguments it was to be called with, and its state."""

    def __new__(cls, *args, **_):
        stub = object.__new__(cls)
        stub.args, stub.state = args, None
        return stub

    def __init__(self, *_, **__):
        pass

    def __setstate__(self, state):
        self.state = state


class Mapping:
    """A dict, whatever it was to be made of."""

    def __new__(cls, *_, **__):
        return {}


def stand_ins(names):
    """[(class, name)] for ``torch.serialization.safe_globals``, of those names that have one.

    Each name has a class of its own, since the reader asks of a class whether it is known.
    """
    known = [n for n in names if n.partition(".")[0] in PACKAGES or n in BUILTIN]
    kinds = [Mapping if name.rpartition(".")[2] in MAPPINGS else Stub for name in known]
    return [(type("StandIn", (kind,), {}), n) for kind, n in zip(kinds, known, strict=True)]


def plain(found):
    """What was read as dicts, lists, text and numbers alone.

    An object is the dict of its state; without one its only argument (an enum's value), or the list
    of all; a path is text. What contains itself is None there, as are tensors and other things.
    """
    made = {}

    def walk(x):
        if x is None or isinstance(x, str | bool | numbers.Number):
            return x
        if id(x) in made:
            return made[id(x)]
        made[id(x)] = None  # while it is being made; x stays alive, and so does its id
        made[id(x)] = known = _of(x, walk)
        return known

    return walk(found)


def _of(x, walk):
    if isinstance(x, dict):
        return {k: walk(v) for k, v in x.items() if isinstance(k, str | int)}
    if isinstance(x, list | tuple | set | frozenset):
        return [walk(v) for v in x]
    if not isinstance(x, Stub):
        return None
    state = x.state
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        # What lies in slots comes second. The dict is not to be remembered by its id: it goes.
        return _of({**(state[0] or {}), **state[1]}, walk)
    if state is not None:
        return walk(state)
    if x.args and all(isinstance(part, str) for part in x.args):
        return x.args[0] if len(x.args) == 1 else str(PurePosixPath(*x.args))
    return walk(x.args[0]) if len(x.args) == 1 else walk(x.args)
