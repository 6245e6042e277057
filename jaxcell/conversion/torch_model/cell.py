"""The model: fields → encoder → pool → heads. B cells, T tokens, D width."""

import torch
from torch import nn

from jaxcell.conversion.torch_model import pools
from jaxcell.conversion.torch_model.building import Named, build_part, choose
from jaxcell.conversion.torch_model.fields import Classes, Fields
from jaxcell.conversion.torch_model.heads import HEADS, reads_of
from jaxcell.conversion.torch_model.layers import Encoder


class CellModel(nn.Module):
    """A cell model of jaxcell, as it computes after training.

    Parameters
    ----------
    config : dict, the whole config as JSON holds it

    Attributes
    ----------
    config : as given
    vocabulary : names of the genes, tuple of str [V]; `load` sets it and what follows
    labels : {label: names of its classes}
    symbols, ensembl, tables : what `embed` reads of the folder

    Raises
    ------
    ValueError
        A field of the config asks for something that is not known here, and is named.
    """

    vocabulary, symbols, ensembl, labels, tables = (), (), (), {}, {}

    def __init__(self, config):
        super().__init__()
        self.config, self.spec = config, config["model"]
        spec, width = self.spec, self.spec["width"]
        self.front = tuple(spec["front"] or spec["specials"])
        self.fields = Fields(spec)
        block = {"kind": "encoder", **spec["encoder"]}
        self.encoder = build_part({"encoder": Encoder}, block, "encoder", width=width)
        self.pool = pools.Pooler(width) if spec["pooler"] else None
        for name in pools.names_of(spec["pool"]):
            choose(self._known(), name, "pool")
        self.conditions, self.heads = Named(), Named()
        given = {head.get("given", "") for head in spec["heads"].values()}
        for name in sorted(given - {""}):
            where = f"conditions.{name}"
            one = {"kind": "condition", **choose(spec["conditions"], name, where)}
            how = dict(width=width, norm=True)
            self.conditions[name] = build_part({"condition": Classes}, one, where, **how)
        for name, head in spec["heads"].items():
            reads = dict.fromkeys(("cell", "tokens", *(("pooled",) if self.pool else ())))
            choose(self._known() | reads, reads_of(head), f"heads.{name}.reads")
            self.heads[name] = self._make_head(name, dict(head))

    def _make_head(self, name, head):
        spec, width = self.spec, self.spec["width"]
        joined = len(pools.names_of(spec["pool"])) if reads_of(head) == "cell" else 1
        context = dict(
            inputs=width * (joined + bool(head.pop("given", ""))),
            width=width,
            vocabulary=spec["vocabulary"],
            tokens=spec["vocabulary"] + len(spec["specials"]),
        )
        head.pop("reads", None)
        return build_part(HEADS, head, f"heads.{name}", **context)

    def _known(self):
        """Names of the pools that this model has."""
        front = ("cls", *self.front) if self.front else ()
        pooler = ("pooler",) if self.pool else ()
        return dict.fromkeys((*front, "first", *pools.OF_GENES, *pooler))

    def forward(self, batch, heads=True):
        """What a batch of tokens gives.

        Parameters
        ----------
        batch : dict of tensors or arrays: ids [B, T] (genes 0 … V − 1, then special tokens), values
            [B, T] (see `values`), length [B]; and what the config asks for: labels {label: codes
            [B], −1: unknown}, flags {name: [B, T]}, measured bool [B, V], expressed bool [B, T],
            next_ids [B, T], gene_places [B, P]
        heads : whether they are computed

        Returns
        -------
        {'cell' [B, D], 'tokens' [B, T, D], 'heads' {name: array, or {part: array}}}; what stands
        beyond a cell's length means nothing, and there are no columns of padded genes

        Raises
        ------
        ValueError
            Tokens are hidden from each other (config.data.draw_masks.blocked), as in training.
        """
        if "blocked" in batch:
            raise ValueError(
                "config.data.draw_masks.blocked: tokens that are hidden from each other in "
                "training are not known here; leave 'blocked' out of the batch"
            )
        batch = self._tensors(batch)
        x, own = self.fields(batch)
        extra = x.shape[1] - batch["ids"].shape[1]  # tokens of the cell's metadata, in front
        tokens = self.encoder(x, batch["length"] + extra)[:, extra:]
        found = {"cell": self._read("cell", tokens, batch), "tokens": tokens, "heads": {}}
        if not heads:
            return found
        batch = {**batch, "fields": own}
        told = {name: condition(batch) for name, condition in self.conditions.items()}
        for name, head in self.heads.items():
            x = self._read(reads_of(self.spec["heads"][name]), tokens, batch)
            if given := self.spec["heads"][name].get("given", ""):
                x = _beside(x, told[given])
            found["heads"][name] = head(x, batch)
        return found

    def _read(self, name, tokens, batch):
        """What a pool or a head reads: [B, D], or all tokens [B, T, D]."""
        if name == "tokens":
            return tokens
        if name == "cell":
            each = pools.names_of(self.spec["pool"])
            return torch.cat([self._read(one, tokens, batch) for one in each], dim=-1)
        if name in pools.OF_GENES:
            return pools.OF_GENES[name](tokens, batch, len(self.front))
        if name in ("pooler", "pooled"):
            return self.pool(tokens[:, 0])
        if name in ("cls", "first"):
            return tokens[:, 0]
        return tokens[:, self.front.index(name)]

    def _tensors(self, batch):
        one = next(self.parameters())

        def tensor(x):
            if isinstance(x, dict):
                return {name: tensor(part) for name, part in x.items()}
            x = torch.as_tensor(x, device=one.device)
            if x.dtype == torch.bool:
                return x
            return x.to(one.dtype if x.is_floating_point() else torch.long)

        return tensor(batch)

    def embed(self, counts, genes, **options):
        """Vectors of cells from raw counts, f32 [cells, D]; see `torch_model.embedding.embed`."""
        from jaxcell.conversion.torch_model.embedding import embed

        return embed(self, counts, genes, **options)


def _beside(x, vector):
    """Put beside x [B, E] or [B, T, E] a vector [B, D] of the cell."""
    if x.ndim == 3:
        vector = vector[:, None].expand(-1, x.shape[1], -1)
    return torch.cat([x, vector], dim=-1)
