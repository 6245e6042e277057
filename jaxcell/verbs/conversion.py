"""``jaxcell convert`` on the command line."""


def convert(p):
    """Arguments of ``jaxcell convert``."""
    p.add_argument(
        "source", metavar="FOLDER", help="with the weights and what is beside them; or our model"
    )
    p.add_argument("out", metavar="OUT", help="folder to write; must not exist")
    p.add_argument("--to", default="jaxcell", choices=("jaxcell", "torch"), help="what it becomes")
    p.add_argument("--family", metavar="NAME", help="who made it; found from the tensors' names")
    p.add_argument(
        "--classes", metavar="FILE", help="names of the classifier's classes, one a line"
    )
    p.add_argument("--batches", metavar="FILE", help="names of the batches, one a line")
    p.add_argument("--clip", type=int, metavar="N", help="highest value, of models of raw counts")

    def run(asked):
        from jaxcell import convert

        print(convert(asked.pop("source"), asked.pop("out"), **asked))

    p.set_defaults(verb=run)
