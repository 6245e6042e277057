"""The results of the suite `cells`, by data set and method."""

import base64
import zlib

import numpy as np

from jaxcell.evaluation import scib_protocol


class Found:
    """The results by data set and method: what a reader asks of them."""

    def __init__(self, results):
        parts = results["parts"].values()
        self.facts = {p["dataset"]: p for p in parts if "method" not in p}
        self.rows = [p for p in parts if "method" in p]
        self.methods = {p["method"]: p for p in self.rows}  # kind, sizes: of any data set

    def own(self, dataset, method):
        """The parts of a method on a data set, by seed."""
        return [p for p in self.rows if (p["dataset"], p["method"]) == (dataset, method)]

    def values(self, dataset, method, metric):
        """One value per seed that has it."""
        kind = "scib" if metric in scib_protocol.METRICS else "probes"
        blocks = [p[kind] if kind == "scib" else p[kind]["scores"]
                  for p in self.own(dataset, method) if kind in p]  # fmt: skip
        return [block[metric] for block in blocks]

    def mean(self, dataset, method, metric):
        """Over seeds; None where it is not defined."""
        values = self.values(dataset, method, metric)
        return None if not values or None in values else float(np.mean(values))

    def cell(self, dataset, method, metric):
        """Mean and standard deviation, as a table shows them."""
        values = self.values(dataset, method, metric)
        mean = self.mean(dataset, method, metric)
        spread = float(np.std(values, ddof=1)) if len(values) > 1 and mean is not None else None
        return (mean, spread) if spread else mean

    def scores(self, metric, references=False):
        """{data set: {method: mean over seeds}}."""
        return {
            dataset: {
                method: self.mean(dataset, method, metric)
                for method, part in self.methods.items()
                if references or part["kind"] != "reference"
            }
            for dataset in self.facts
        }

    def predictions(self, dataset):
        """The truth and the linear probes' predictions by the first seed: {method: int [c]}."""
        found = {}
        for method, part in self.methods.items():
            own = self.own(dataset, method)
            if part["kind"] != "reference" and own:
                said = own[0]["probes"]["predictions"]
                found["truth"], found[method] = unpack(said["truth"]), unpack(said["linear"])
        return found.pop("truth"), found


def unpack(text):
    """What `cells.pack` made, int [c]."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i2").astype(int)
