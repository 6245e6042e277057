"""Vocabularies of tokenizer.json: each word a token, as Hugging Face's tokenizers keep them."""

import re

import numpy as np

from jaxcell.conversion.files import read_json
from jaxcell.data.genes import strip_version
from jaxcell.data.vocabulary import Vocabulary

FILE = "tokenizer.json"
FOLDERS = ("", "genes", "tokenizers/genes")  # where it lies, from the weights' folder on
SPECIAL = re.compile(r"\[(.+)\]")


def read_tokens(weights):
    """Words in the order of their ids, and the file that says so.

    weights : path of the weights; a vocab.json or vocab.txt beside is not read: those of published
        folders are of other models

    Raises
    ------
    ValueError
        There is no such file, it is of another kind, or its ids are not 0, 1, 2 …
    """
    places = [weights.parent / folder / FILE for folder in FOLDERS]
    path = next((one for one in places if one.is_file()), None)
    if path is None:
        names = ", ".join(f"{folder}/{FILE}".lstrip("/") for folder in FOLDERS)
        raise ValueError(
            f"{weights.parent}: has no {FILE} of the genes ({names}); copy the tokenizer that the "
            "model was trained with beside its weights (vocab.json alone may be of another model)"
        )
    found = read_json(path)
    model = found.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise ValueError(f"{path}: has no words (model: vocab), expected a tokenizer of words")
    ids = dict(model["vocab"])
    added = found.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(one, dict) for one in added):
        raise ValueError(f"{path}: added_tokens: expected a list of words with their ids")
    for one in added:
        word, number = one.get("content"), one.get("id")
        if ids.setdefault(word, number) != number:
            raise ValueError(f"{path}: {word!r} has the ids {ids[word]} and {number}")
    if not all(type(i) is int for i in ids.values()) or (
        sorted(ids.values()) != list(range(len(ids)))
    ):
        raise ValueError(f"{path}: the ids of its {len(ids)} words are not each of 0, 1, 2 … once")
    return sorted(ids, key=ids.get), path


def name_of(word):
    """Our name of a special token: '<cls_0>' of '[CLS_0]'."""
    return f"<{SPECIAL.fullmatch(word)[1].lower()}>"


def vocabulary_of(words, specials, behind=()):
    """Our vocabulary of words that begin with so many special tokens, and where each word goes.

    Other words are genes, by symbol or Ensembl id; of two versions of an id the second is a symbol.

    behind : further words that are special tokens, behind the others

    Returns
    -------
    Vocabulary, rows i64 [words]
    """
    number = {word: k for k, word in enumerate([*words[:specials], *behind])}
    genes = [word for word in words if word not in number]
    ensembl, known = [], {""}
    for word in genes:
        found = strip_version(word) or ""
        ensembl.append("" if found in known else found)
        known.add(found)
    symbols = ["" if e else word for word, e in zip(genes, ensembl, strict=True)]
    place = {word: k for k, word in enumerate(genes)}
    place |= {word: len(genes) + k for word, k in number.items()}
    names = list(map(name_of, number))
    return Vocabulary(symbols, ensembl, names), np.array([place[word] for word in words])
