"""What a token is made of. B cells, T tokens, D width, V genes, S special tokens.

M tokens of a cell's metadata may stand in front of its T tokens.
"""

import torch
from torch import nn

from jaxcell.conversion.torch_model.building import Named, build_part, choose
from jaxcell.conversion.torch_model.values import VALUES


class Lookup(nn.Module):
    """A learned vector for each gene, token, or one of n flags: ids [B, T] -> [B, T, D]."""

    def __init__(self, input, vocabulary, specials, width, path, of="genes", norm=False):
        super().__init__()
        self.read, self.channels = input.split("."), width  # 'ids', or 'flags.perturbed'
        if isinstance(of, int):
            self.rows = nn.Embedding(of, width)
        else:
            sizes = {"genes": vocabulary, "tokens": vocabulary + specials}
            self.embedding = nn.Embedding(choose(sizes, of, f"{path}.of"), width)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()

    def forward(self, batch):
        for name in self.read:
            batch = batch[name]
        table = self.embedding if hasattr(self, "embedding") else self.rows
        return self.norm(table(batch))


class NextGene(nn.Module):
    """A learned vector for the gene of the next token: ids [B, T], length [B] -> [B, T, D].

    ``next_ids`` [B, T] of a batch stand for them. Zeros where none comes next, or a special token.
    """

    def __init__(self, vocabulary, width):
        super().__init__()
        self.vocabulary, self.channels = vocabulary, width
        self.embedding = nn.Embedding(vocabulary, width)

    def forward(self, batch):
        ids = batch["next_ids"] if "next_ids" in batch else self._next(batch["ids"], batch)
        there = (ids >= 0) & (ids < self.vocabulary)
        vectors = self.embedding(torch.where(there, ids, 0))
        return torch.where(there[..., None], vectors, 0)

    def _next(self, ids, batch):
        shifted = torch.cat([ids[:, 1:], ids[:, :1]], dim=1)
        place = torch.arange(1, ids.shape[1] + 1, device=ids.device)
        return torch.where(place < batch["length"][:, None], shifted, -1)


class Classes(nn.Module):
    """A vector for the class of each cell, of a last row where it is unknown.

    codes [B] (−1: unknown) -> [B, D]. ``norm``: a layer norm behind it (conditions of heads).
    """

    def __init__(self, label, classes, width, norm=False, place="cls"):
        super().__init__()
        self.label, self.classes, self.place = label, classes, place
        self.rows = nn.Embedding(classes + 1, width)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()

    def forward(self, batch):
        codes = batch["labels"][self.label]
        return self.norm(self.rows(torch.where(codes < 0, self.classes, codes)))


class BatchNorm(nn.Module):
    """Normalise tokens by the running statistics of the cell's domain; K = 1 of all cells.

    x [B, T, D], domain [B] (−1: unknown) -> [B, T, D]. Buffers mean, var [K, D] and seen [K], cells
    of each domain in training. A cell of an unknown domain takes the moments of all cells seen.
    """

    def __init__(self, width, domains, affine, eps):
        super().__init__()
        self.eps = eps
        self.register_buffer("mean", torch.zeros(domains, width))
        self.register_buffer("var", torch.ones(domains, width))
        self.register_buffer("seen", torch.zeros(domains))
        self.weight = nn.Parameter(torch.ones(domains, width)) if affine else None
        self.bias = nn.Parameter(torch.zeros(domains, width)) if affine else None

    def forward(self, x, domain):
        total = self.seen.sum()
        share = torch.where(total > 0, self.seen / total.clamp(min=1), 1 / len(self.seen))
        whole = share @ self.mean
        spread = share @ (self.var + (self.mean - whole) ** 2)
        mean, var = _with(self.mean, whole, domain), _with(self.var, spread, domain)
        x = (x - mean) / torch.sqrt(var + self.eps)
        if self.weight is None:
            return x
        weight = _with(self.weight, share @ self.weight, domain)
        return x * weight + _with(self.bias, share @ self.bias, domain)


def _with(of_domains, of_unknown, domain):
    """What each cell has of [K, D] and, for an unknown domain (−1), [D]: [B, 1, D]."""
    return torch.cat([of_domains, of_unknown[None]])[domain][:, None]


FIELDS = {"lookup": Lookup, "next": NextGene, **VALUES}
# Where a cell's vector goes, in this order: to each token, to the first one, or one of its own.
METADATA = {"all": 0, "cls": 1, "token": 2}
NORMS = {"": "", "layer": "layer", "batch": "batch", "domain": "domain"}


class Fields(Named):
    """All fields of a token, combined: batch -> tokens [B, M + T, D], {field: its own [B, T, D]}.

    Concatenated fields are of genes alone, and special tokens have vectors that stand in for them;
    added fields have rows for special tokens.
    """

    def __init__(self, spec):
        super().__init__()
        self.spec, width = spec, spec["width"]
        self.front = len(spec["front"] or spec["specials"])
        self.add = choose({"sum": True, "concat": False}, spec["combine"], "combine")
        context = dict(width=width, vocabulary=spec["vocabulary"], specials=len(spec["specials"]))
        for name in spec["tokens"]:
            self[name] = build_part(FIELDS, spec["fields"][name], f"fields.{name}", **context)
        if not self.add:
            self["combine"] = nn.Linear(sum(self[n].channels for n in spec["tokens"]), width)
            if self.front:
                self["specials"] = nn.Embedding(len(spec["specials"]), width)
        places = {}
        for name, one in spec["metadata"].items():
            one, where = {"kind": "metadata", **one}, f"metadata.{name}"
            self[name] = build_part({"metadata": Classes}, one, where, width=width)
            places[name] = choose(METADATA, self[name].place, f"{where}.place"), name
        self.metadata = sorted(places, key=places.get)
        kind = choose(NORMS, spec["norm"], "norm")
        if kind == "layer":
            self["norm"] = nn.LayerNorm(width, eps=spec["norm_eps"])
        elif kind:
            domains = spec["domain"]["classes"] if kind == "domain" else 1
            self["norm"] = BatchNorm(width, domains, spec["domain"]["affine"], spec["norm_eps"])

    def forward(self, batch):
        x, own = (self._added if self.add else self._concatenated)(batch)
        for name in self.metadata:
            vector, place = self[name](batch)[:, None], self[name].place
            if place == "all":
                x = x + vector
            elif place == "cls":
                x = torch.cat([x[:, :1] + vector, x[:, 1:]], dim=1)
            else:
                x = torch.cat([vector, x], dim=1)
        x = self._normed(x, batch)
        if self.spec["silent_zeros"]:
            x = torch.where(self._heard(batch, x.shape[1])[..., None], x, 0)
        return x, own

    def _added(self, batch):
        own = {name: self[name](batch) for name in self.spec["tokens"]}
        return sum(own.values()), own

    def _concatenated(self, batch):
        s, ids = self.front, batch["ids"]
        genes = {**batch, "ids": ids[:, s:], "values": batch["values"][:, s:]}
        genes["flags"] = {name: one[:, s:] for name, one in batch.get("flags", {}).items()}
        parts = [self[name](genes) for name in self.spec["tokens"]]
        x = self["combine"](torch.cat(parts, dim=-1))
        if s:
            x = torch.cat([self["specials"](ids[:, :s] - self.spec["vocabulary"]), x], dim=1)
        return x, {}

    def _normed(self, x, batch):
        kind = self.spec["norm"]
        if kind in ("", "layer"):
            return self["norm"](x) if kind else x
        if kind == "domain":
            return self["norm"](x, batch["labels"][self.spec["domain"]["label"]])
        return self["norm"](x, torch.zeros_like(batch["length"]))

    def _heard(self, batch, tokens):
        """Bool [B, M + T]: all but genes without a count, whose tokens are silent."""
        special = batch["ids"] >= self.spec["vocabulary"]
        heard = special | batch.get("expressed", batch["values"] > 0)
        more = heard.new_ones(len(heard), tokens - heard.shape[1])
        return torch.cat([more, heard], dim=1)
