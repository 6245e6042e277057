"""The suites there are, by name; a module is imported when its suite is asked for."""

import importlib

from jaxcell.registry import lookup

# Each module's SUITE.
MODULES = {
    "cells": "jaxcell.suites.cells",
    "annotation": "jaxcell.suites.annotation",
    "transductive": "jaxcell.suites.transductive",
    "txfm": "jaxcell.suites.txfm",
    "genes": "jaxcell.suites.genes",
    "perturbation": "jaxcell.suites.perturbation",
    "network": "jaxcell.suites.network",
    "moa": "jaxcell.suites.moa",
    "disease": "jaxcell.suites.disease",
}


def suite(name):
    """The Suite of a name.

    Raises
    ------
    ValueError
        For an unknown one.
    """
    return importlib.import_module(lookup(MODULES, name, "suite")).SUITE
