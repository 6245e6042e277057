"""Gene ↔ index, and the special tokens. V = number of genes, without the specials."""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from jaxcell.data.genes import strip_version
from jaxcell.files import near, read_text

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Vocabulary:
    """The genes a model knows, in the order of their token ids, and then its special tokens.

    Token ids are 0 … V-1 for genes and V … V+S-1 for specials; panel column = gene id.

    Parameters
    ----------
    symbols, ensembl : tuple of str, [V]
        Names of each gene; one of the two may be ``''``, not both. Ensembl ids carry no version.
    specials : tuple of str, [S]
        Special tokens.

    Raises
    ------
    ValueError
        Lengths differ, a gene has no name, or a gene stands there twice. The same symbol may stand
        there twice only where each has an Ensembl id of its own (MATR3 in GENCODE, for example).
    """

    symbols: tuple[str, ...]
    ensembl: tuple[str, ...]
    specials: tuple[str, ...] = ("<cls>",)

    def __post_init__(self):
        for name in ("symbols", "ensembl", "specials"):
            object.__setattr__(self, name, tuple(map(str, getattr(self, name))))
        if len(self.symbols) != len(self.ensembl):
            raise ValueError(
                f"a vocabulary needs as many Ensembl ids ({len(self.ensembl)}) as symbols "
                f"({len(self.symbols)}); use '' where one is unknown"
            )
        pairs = list(zip(self.symbols, self.ensembl, strict=True))
        nameless = [i for i, pair in enumerate(pairs) if pair == ("", "")]
        if nameless:
            raise ValueError(
                f"vocabulary gene {nameless[0]} has neither a symbol nor an Ensembl id"
            )
        twice = _repeated(self.specials) | _repeated(e for e in self.ensembl if e)
        nicknames = {s for s, e in pairs if not e}
        twice |= _repeated(self.symbols) & nicknames
        if twice:
            raise ValueError(
                f"the vocabulary names {len(twice)} genes or specials twice: "
                f"{', '.join(sorted(twice)[:5])}"
            )

    def __len__(self):
        return len(self.symbols)

    @property
    def n_tokens(self):
        """Number of genes and specials, V + S."""
        return len(self) + len(self.specials)

    @functools.cached_property
    def by_ensembl(self):
        """{Ensembl id: gene index}."""
        return {e: i for i, e in enumerate(self.ensembl) if e}

    @functools.cached_property
    def by_symbol(self):
        """{symbol: gene index}, without the symbols that several genes share."""
        shared = _repeated(s for s in self.symbols if s)
        return {s: i for i, s in enumerate(self.symbols) if s and s not in shared}

    def index(self, gene):
        """Token id of a gene (symbol or Ensembl id, as spelled here) or of a special token.

        Raises
        ------
        KeyError
            The vocabulary has no such gene, or several genes share this symbol.
        """
        for table in (self.by_ensembl, self.by_symbol):
            if gene in table:
                return table[gene]
        if gene in self.specials:
            return len(self) + self.specials.index(gene)
        several = [e for s, e in zip(self.symbols, self.ensembl, strict=True) if s == gene]
        if several:
            raise KeyError(f"{gene!r} is the symbol of several genes: use one of {several}")
        raise KeyError(f"{gene!r} is not among the {len(self)} genes of the vocabulary")

    def name(self, token):
        """Name of a token id: a gene's symbol, or its Ensembl id where it has none; a special."""
        if token >= len(self):
            return self.specials[token - len(self)]
        return self.symbols[token] or self.ensembl[token]

    @functools.cached_property
    def names(self):
        """Name of every gene, tuple of str [V]."""
        return tuple(s or e for s, e in zip(self.symbols, self.ensembl, strict=True))

    def subset(self, wanted):
        """Vocabulary of some genes, wanted bool [V], in this order, with the same specials."""
        kept = [i for i, keep in enumerate(wanted) if keep]
        return Vocabulary(
            [self.symbols[i] for i in kept], [self.ensembl[i] for i in kept], self.specials
        )

    def with_specials(self, specials):
        """The same genes with a model's special tokens."""
        return Vocabulary(self.symbols, self.ensembl, specials)

    @functools.cached_property
    def sha256(self):
        """Hash of the names in their order, independent of how the file is laid out."""
        text = json.dumps([self.symbols, self.ensembl, self.specials], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, path):
        """Write the vocabulary as JSON."""
        content = {
            "format_version": FORMAT_VERSION,
            "sha256": self.sha256,
            "specials": self.specials,
            "symbols": self.symbols,
            "ensembl": self.ensembl,
        }
        Path(path).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is not a vocabulary, is of another version, or its hash does not fit.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            version = content["format_version"]
            if version != FORMAT_VERSION:
                raise ValueError(
                    f"{path} has vocabulary format {version}; this jaxcell reads {FORMAT_VERSION}"
                )
            vocabulary = cls(content["symbols"], content["ensembl"], content["specials"])
        except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a vocabulary of jaxcell: {error!r}; expected a vocabulary.json "
                "of a store or model"
            ) from error
        if vocabulary.sha256 != content.get("sha256"):
            raise ValueError(
                f"{path} was changed after it was written: its sha256 does not fit; copy it again"
            )
        return vocabulary


def read_vocabulary(given):
    """Vocabulary from an object, a vocabulary.json, a store or model folder, or a list of genes.

    Raises
    ------
    FileNotFoundError, ValueError
        Nothing there, or not a vocabulary.
    """
    if isinstance(given, Vocabulary):
        return given
    path = Path(given)
    if path.is_dir():
        path = path / "vocabulary.json"
    if not path.is_file():
        raise FileNotFoundError(f"vocabulary {path} does not exist{near(path)}")
    if path.suffix == ".json":
        return Vocabulary.load(path)
    lines = [line.split("\t") for line in read_text(path, "genes, one a line").splitlines()]
    fields = [[f.strip() for f in line] for line in lines if any(f.strip() for f in line)]
    ensembl = [next((e for e in map(strip_version, f) if e), "") for f in fields]
    symbols = [next((s for s in f if s and not strip_version(s)), "") for f in fields]
    if not fields:
        raise ValueError(f"vocabulary {path} names no gene; expected a gene a line")
    return Vocabulary(symbols, ensembl)


def _repeated(names):
    seen, repeated = set(), set()
    for name in names:
        (repeated if name in seen else seen).add(name)
    return repeated
