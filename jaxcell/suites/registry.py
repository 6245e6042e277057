"""The suites there are, by name; a module is imported when its suite is asked for."""

import importlib

from jaxcell.registry import lookup

# Each module's SUITE.
MODULES = {
    "annotation": "jaxcell.suites.annotation",
    "cells": "jaxcell.suites.cells",
    "disease": "jaxcell.suites.disease",
    "genes": "jaxcell.suites.genes",
    "moa": "jaxcell.suites.moa",
    "transductive": "jaxcell.suites.transductive",
    "txfm": "jaxcell.suites.txfm",
}


def suite(name):
    """The Suite of a name.

    Raises
    ------
    ValueError
        For an unknown one.
    """
    return importlib.import_module(lookup(MODULES, name, "suite")).SUITE
