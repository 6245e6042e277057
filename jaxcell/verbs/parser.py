"""The argument parser of all verbs: one line for a wrong word, with the nearest right one."""

import argparse
import math
import re
import sys
import textwrap

from jaxcell.registry import did_you_mean
from jaxcell.verbs.examples import epilog

FIELD = re.compile(r"--?(no)?config\.")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that ends --help with its verb's examples, and mistakes in one line.

    ``fields=True`` among the defaults lets --config.x.y=… pass, for the verb to read.
    """

    def __init__(self, *args, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)
        self.register("type", int, whole_number)
        self.register("type", float, number)
        self.epilog = epilog(self.prog.removeprefix("jaxcell").strip())
        # Taken out of argv before, see jaxcell/failures.py; here for --help.
        self.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="the whole traceback where something fails",
        )

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's; what no argument takes is an error of the verb, not of ``jaxcell``."""
        args = sys.argv[1:] if args is None else list(args)
        if self._subparsers is None:
            self._check_flags(args)  # else a misspelt flag would first be said to be missing
        found, left = super().parse_known_args(args, namespace)
        fields = getattr(found, "fields", False)  # words among them may be a field's value
        if left and not fields:
            self._unrecognised(left)
        return found, left

    def _check_flags(self, args):
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        given, before = args[: args.index("--")] if "--" in args else args, ""
        for text in given:
            flag = text.partition("=")[0]
            near = any(one.startswith(flag) for one in known)
            if flag.startswith("--") and " " not in flag and not near and not FIELD.match(text):
                takes = self._option_string_actions.get(before)
                if takes is not None and takes.nargs is None and takes.const is None:
                    self.error(f"argument {before}: expected one value; write {before}='{text}'")
                self._unrecognised([text], did_you_mean(flag, known))
            before = text

    def _unrecognised(self, left, near=""):
        self.error(f"unrecognized arguments: {' '.join(left)}{near}")

    def _get_value(self, action, text):
        # It would be the folder that one is in: mostly a shell's variable without a value.
        if action.dest == "out" and not text and action.option_strings:
            raise argparse.ArgumentError(action, "found '', expected a path")
        return super()._get_value(action, text)

    def _check_value(self, action, value):
        if action.choices is not None and value not in action.choices:
            known = [str(one) for one in action.choices]
            text = f"found {str(value)!r}, expected one of {', '.join(known)}"
            raise argparse.ArgumentError(action, text + did_you_mean(str(value), known))

    def error(self, message):
        """End with one line and status 2."""
        print(f"error: {message}; `{self.prog} --help` shows what there is", file=sys.stderr)
        sys.exit(2)


def whole_number(text):
    """What ``type=int`` of an argument takes."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number") from None


def number(text):
    """What ``type=float`` takes: NaN is no number, and no check by < or > would find it."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number")
    return found


def add_verbs(parser, title, metavar):
    """A function (name, help) -> Parser of a new verb; its help is its description as well."""
    verbs = parser.add_subparsers(title=title, required=True, metavar=metavar)

    def add(name, help):
        about = textwrap.fill(f"{help[:1].upper()}{help[1:]}.", 78)
        return verbs.add_parser(name, help=help, description=about)

    return add
