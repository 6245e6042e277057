"""``jaxcell convert`` on the command line."""

from jaxcell.verbs import options


def convert(p):
    """Arguments of ``jaxcell convert``."""
    p.add_argument(
        "source",
        metavar="SOURCE",
        help="folder with the weights and what is beside them; with --to a model of ours: "
        f"{options.CHECKPOINT}",
    )
    p.add_argument("out", metavar="OUT", help="folder to write; must not exist")
    p.add_argument(
        "--to",
        default="jaxcell",
        choices=("jaxcell", "torch", "hub-folder"),
        help="what it becomes: a model of ours, one for PyTorch, or one to upload with its card",
    )
    p.add_argument("--family", metavar="NAME", help="who made it; found from the tensors' names")
    p.add_argument(
        "--classes",
        nargs="+",
        metavar="[LABEL=]FILE",
        help="names of the classifier's classes, one a line; LABEL=FILE where there are several",
    )
    p.add_argument("--batches", metavar="FILE", help="names of the batches, one a line")
    p.add_argument("--genes", metavar="FILE", help="of a model without a vocabulary, one a line")
    p.add_argument("--heads", type=int, metavar="N", help="of attention, where no file says")
    p.add_argument("--clip", type=int, metavar="N", help="highest value, of models of raw counts")
    p.add_argument("--report", metavar="DIR", help="for the card: what jaxcell evaluate wrote")
    p.add_argument("--licence", "--license", metavar="NAME", help="of the weights, for the card")

    def run(asked):
        from jaxcell import convert

        asked["classes"] = _classes(asked["classes"])
        print(convert(asked.pop("source"), asked.pop("out"), **asked))

    p.set_defaults(verb=run)


def _classes(given):
    """A file, or {label: file} of 'LABEL=FILE …'; None where nothing was given."""
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    pairs = [text.partition("=") for text in given]
    if alone := [label for label, equals, _ in pairs if not equals]:
        raise ValueError(
            f"--classes: found {alone[0]}, expected LABEL=FILE where there are several"
        )
    return {label: file for label, _, file in pairs}
