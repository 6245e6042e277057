"""Names of conditions: 'A', 'A+B' and 'ctrl', from any spelling."""

CONTROL = "ctrl"  # of GEARS' files, and in our names of conditions
JOINED = "+"


def parts_of(name, control=CONTROL, separator=JOINED, treatment=False):
    """The perturbed genes of a condition as a file writes it, sorted; () for the control.

    Raises
    ------
    ValueError
        A gene without a name ('A+'), or one twice.
    """
    if name == control or treatment:
        return ()
    parts = [part.strip() for part in name.split(separator)]
    genes = sorted(part for part in parts if part != control)
    if "" in genes or len(set(genes)) < len(genes):
        raise ValueError(
            f"condition {name!r}: expected genes, each once, joined by {separator!r}, or"
            f" {control!r}"
        )
    return tuple(genes)


def name_of(genes):
    """A condition's name by its genes."""
    return JOINED.join(genes)


def listed(names, most=6):
    """Some names for a message, and how many more there are."""
    names = list(names)
    more = f" … and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def add_layout(p):
    """Arguments of a command line: how a file names what was done to its cells."""
    p.add_argument("--condition", default="condition", metavar="OBS", help="column of obs")
    p.add_argument("--control", default="ctrl", metavar="VALUE", help="of cells left alone; ctrl")
    p.add_argument("--separator", default="+", metavar="TEXT", help="between two genes; +")
    p.add_argument("--treatment", action="store_true", help="conditions are no genes")
    p.add_argument("--cells", default="", metavar="OBS=VALUE", help="look at these cells alone")
    p.add_argument(
        "--values",
        default="log",
        choices=("log", "counts"),
        help="what X holds: log-normalised expression, or raw counts, which are then normalised",
    )
