"""The whole field tree of a config, each field with its comment.

The defaults are TxFM-B as its paper trains it; a file in configs/ changes what differs.
"""

from ml_collections import ConfigDict, config_dict

from jaxcell.systems.txfm import reconstruction


def defaults():
    """A config with every field; what a system or a run changes, it changes on this."""
    c = ConfigDict()
    c.name = "txfm_b"  # names the run's folder and the embedding: obsm['X_<name>']
    c.seed = 0  # of initial parameters, order of cells, visible genes, stochastic depth
    c.stages = ("train",)  # of prepare, train, embed, evaluate; each is a block of this config
    c.dtype = "auto"  # of matrix products: bfloat16 on TPU and Ampere or newer, else float32
    c.attention = "auto"  # how: cudnn (GPU), flash (TPU), cells (CPU), or xla, which all have
    c.epochs = 200  # as many cells as so many passes over the (capped) training cells
    c.steps = 0  # optimizer steps; 0: from epochs, otherwise it wins
    c.best = ("val/loss", "min")  # model/ keeps the best step by it; or ("val/avg_bio", "max")

    c.data = ConfigDict()
    c.data.store = config_dict.placeholder(str)  # folder that `jaxcell prepare` wrote, or FILE.h5ad
    c.data.total = "measured"  # a cell's divisor: sum over its measured genes, or 'source': all
    c.data.transforms = ("normalise", "sample_genes")  # in this order; each has a block here
    c.data.normalise = ConfigDict({"library_size": 100_000.0})  # counts are scaled to this sum
    c.data.normalise.scale = True  # False: they are not; tokens and targets are ln(1 + count)
    c.data.normalise.pseudo_total = 0.0  # added to each cell's sum
    c.data.normalise.given = "counts"  # of the store; log1p: normalised already, kept as they are
    c.data.bin = ConfigDict({"method": "cell_low"})  # or cell_high, …: see jaxcell/data/bins.py
    c.data.bin.number = 51  # of the classes, that of zero counts among them
    c.data.bin.b = 3.0  # of method value: bins for each doubling above c
    c.data.bin.c = 8  # of value: the highest count with a bin of its own; of clip: highest value
    c.data.bin.normalised = False  # of value: counts are scaled to the mean total first
    c.data.bin.printed = False  # of value: above c bins count from 1 again, as printed
    c.data.sample_genes = ConfigDict({"number": 2048})  # K visible genes, zeros included
    c.data.sample_genes.temperature = 0.0  # T: drawn ∝ (training cells with the gene)^T; 0: evenly
    c.data.sequence = ConfigDict({"number": 2048})  # K genes, the expressed ones first
    c.data.sequence.zeros = "exclude"  # or all, interleave, …: see jaxcell/data/sequence.py
    c.data.sequence.ratio = 0.9  # of expressed genes, while zeros are interleaved
    c.data.sequence.expressed_only = 0.0  # share of cells that show no zeros all the same
    c.data.sequence.temperature = 0.0  # zeros are drawn ∝ (training cells with the gene)^T
    c.data.sequence.order = "random"  # or value: the highest are first; or vocabulary: as ids are
    c.data.sequence.dropout = 0.0  # share of the genes in line that is left out
    c.data.sequence.chunk = 0  # so many consecutive ones are left out
    c.data.sequence.total = "cell"  # or shown: values are normalised by the sum of what is shown
    c.data.thin = ConfigDict({"method": "binomial", "probability": 0.5})  # or poisson
    c.data.thin.least_total = 1000.0  # cells with fewer counts stay as they are
    c.data.thin.rate = 0.33  # of poisson
    c.data.flag_genes = ConfigDict({"flag": "perturbed"})  # read as flags.perturbed
    c.data.flag_genes.label = ""  # of the store, whose classes name genes: KLF1+ctrl, A+B
    c.data.flag_genes.separator = "+"  # of the genes of a class
    c.data.flag_genes.control = "ctrl"  # what names no gene
    c.data.flag_genes.unmeasured = "refuse"  # genes not measured; or show: as zeros
    # Perturbations: a cell of another class than control is predicted from a drawn control cell.
    c.data.pair = ConfigDict({"label": ""})  # of the store; '': every cell is its own input
    c.data.pair.control = "ctrl"  # its class of unperturbed cells
    c.data.pair.by = ""  # controls are drawn within this column's classes; '': among all
    c.data.pair.bins = 51  # of batch.token_bins, that of zero among them
    c.data.pair.width = 0.2  # of each, of log-normalised expression
    c.data.draw_masks = ConfigDict({"ratio": 0.15, "hidden": 0.95, "replaced": 0.0})
    c.data.draw_masks.fields = ("values",)  # or genes too: which gene a token is
    c.data.draw_masks.together = False  # a token is masked in all of them or in none
    c.data.draw_masks.blocked = False  # nobody attends to a hidden token but itself
    c.data.draw_masks.adaptive = False  # mask more often what is predicted badly
    c.data.draw_masks.exactly = False  # mask int(ratio · genes) of each cell, and not by chance
    c.data.draw_masks.expressed = "any"  # or only: drawn tokens without a count stay as they are
    c.data.draw_masks.nonzero = 0.0  # p: so many of exactly so many have a count; 0: as they come
    c.data.mixture = ()  # ('bulk*=0.2', '*=0.8'): shares of datasets by name; (): every cell alike
    # Of cap, weights, round_robin, stratify, in this order; each has a block here. by: columns,
    # 'dataset' and labels of the store, whose classes make the groups; unknown: cells without a
    # label in one of them are a group ('keep') or never seen ('drop'). (): each cell once an epoch.
    c.data.sampling = ()
    c.data.cap = ConfigDict({"by": ("dataset",), "unknown": "keep"})
    c.data.cap.cells = 0  # at most so many of each group in an epoch; or
    c.data.cap.total = 0  # so many of all groups, as equal as their cells allow
    c.data.cap.redraw = False  # True: other cells of the group in every epoch
    c.data.weights = ConfigDict({"by": ("dataset",), "unknown": "keep"})
    c.data.weights.power = 0.0  # a cell's weight: (cells of its group)^power; -1: equal shares; or
    c.data.weights.shares = ()  # ('T cell*=0.3', '*=0.7'): of the classes of the column in by
    c.data.round_robin = ConfigDict({"by": ("dataset",), "unknown": "keep"})  # groups take turns
    c.data.stratify = ConfigDict({"by": ("dataset",), "unknown": "keep"})  # even in every batch
    c.data.workers = 0  # Grain worker processes; 0: threads of this process
    c.data.threads = 2  # reading ahead, in each process

    c.model = ConfigDict()
    c.model.vocabulary = 44_349  # genes, without specials; the store overrides it and says so
    c.model.vocab_multiple = 128  # gene tables are padded to this, so that they can be sharded
    c.model.specials = ("<cls>",)  # special tokens that have vectors of their own
    c.model.front = ()  # those that stand in front of each cell's genes; (): all
    c.model.width = 768  # D
    c.model.fields = ConfigDict(
        {
            "gene": {"kind": "lookup", "input": "ids"},
            "value": {"kind": "scalar", "input": "values"},
        }
    )
    c.model.tokens = ("gene", "value")  # the fields of a token, in the order of concatenation
    c.model.combine = "concat"  # and project to the width; or sum
    c.model.metadata = ConfigDict()  # {name: {label, classes, place: cls, all or token, dropout}}
    c.model.norm = ""  # of the combined tokens; or layer; batch: over cells; domain: of each alone
    c.model.norm_eps = 1e-12
    c.model.domain = ConfigDict({"label": "", "classes": 1})  # of norm = domain
    c.model.domain.affine = True  # batch and domain norm have a learned scale and bias
    c.model.silent_zeros = False  # tokens of genes without a count are zero behind the norm
    c.model.conditions = ConfigDict()  # {name: {label, classes}}: heads read it by given=name
    c.model.dropout = 0.0  # of the combined tokens
    c.model.encoder = ConfigDict(
        {
            "layers": 12,
            "heads": 12,
            "mlp_ratio": 4.0,
            "hidden": 0,  # width of the MLP; 0: mlp_ratio times the width
            "activation": "gelu",  # or relu; or swiglu, geglu: with a gate
            "norm": "layer",  # or rms
            "norm_eps": 1e-6,
            "norm_first": True,  # False: behind each residual, as in BERT
            "first_norm": True,  # False: none before the first attention
            "final_norm": True,  # behind the last block
            "bias": True,  # of linear layers and layer norms
            "layer_scale": 1e-4,  # initial; the paper names LayerScale without a value; 0: none
            "drop_path": 0.1,  # at the last layer, rising linearly from 0
            "dropout": 0.0,  # of attention weights and of both branches
            "dropout_inside": False,  # and behind the MLP's activation, as in torch's layer
            "attention": "exact",  # or performer, nystrom: a cost linear in the tokens
            "causal": False,  # True: a token sees those up to itself alone
            "features": 256,  # of performer
            "landmarks": 64,  # of nystrom
            "iterations": 6,  # of nystrom's inverse
            "kernels": "xavier",  # how kernels are drawn; or torch, bert
            "unroll": 0,  # layers compiled side by side, not in a loop; 0: on a GPU all of them
            "remat": "none",  # or computed again for gradients: full (blocks), dots (but products)
        }
    )
    c.model.pool = "cls"  # or mean, last, first, pooler, a front token; or joined: 'cls+mean'
    c.model.pooler = False  # a linear layer and tanh on CLS, for heads that read 'pooled'
    c.model.heads = ConfigDict({"expression": {"kind": "vocabulary_mlp", "blocks": 4}})
    c.model.heads.expression.activation = "rectified_tanh"
    c.model.heads.expression.library_size = c.data.normalise.get_oneway_ref("library_size")

    # A loss of weight 0 is shown beside the others: here the two ends of the scale.
    c.losses = ConfigDict()
    c.normalise_weights = False  # divide the loss by the weights of what it adds up
    c.labels = ()  # label heads that are trained: 'HEAD', or 'HEAD=LABEL' as the store names it
    c.batch = ""  # the store's label that tells batches apart; 'dataset': its files; '': none does
    c.targets = ConfigDict()  # {label: 'number' or 'several'}: what its classes' names stand for
    c.ontology = ConfigDict({"file": "", "labels": ()})  # OBO file or cellxgene, and its labels
    c.ontology.terms = ()  # further terms to tell apart beside those of the store's cells
    reconstruction(c, "poisson_log1p")

    c.train = ConfigDict()
    c.train.batch_size = 1536  # cells of one optimizer step, over all devices
    c.train.accumulate = 1  # micro-batches that a step's cells are computed in, one by one
    c.train.init_from = ""  # checkpoint whose parameters a new run starts from, matched by gene
    # Low-rank updates of the kernels whose path matches; 0: none. What else trains, `frozen` says.
    c.train.lora = ConfigDict({"rank": 0, "alpha": 32.0})  # kernel + alpha / rank · a · b
    c.train.lora.paths = r"encoder/.*(attention|mlp)/.*kernel$"
    c.train.bias_at_means = True  # the decoder starts at the training means (not in the paper)
    c.train.log_every = 50  # steps between lines of metrics.jsonl
    c.train.tensorboard = False  # event files beside metrics.jsonl; needs the extra tensorboard
    c.train.validate_every = 0  # steps between validations; 0: once an epoch
    c.train.save_every = 0  # steps between saves of the newest state; 0: with each validation
    c.train.gene_errors = "heads.expression"  # prediction measured per gene at the end; '': none
    c.train.gene_zero = ""  # the logit of its being zero, where a head predicts that by itself
    c.train.gene_among = "hidden"  # genes that count: hidden ones; or measured; or masked tokens
    c.train.keep_every = 0  # steps whose checkpoints are kept for good; 0: only best and last

    c.optimizer = ConfigDict()
    c.optimizer.kind = "adamw"  # or adam: weight_decay is an L2 penalty, part of the gradient
    c.optimizer.schedule = "one_cycle"  # of cosines; behind the warm-up constant, linear, cosine
    c.optimizer.decay = 0.9  # or step: the rate is multiplied by it
    c.optimizer.decay_steps = 0  # every so many steps; 0: at the end of each epoch
    c.optimizer.learning_rate = 1e-3  # at the top
    c.optimizer.warmup = 0.1  # share of the steps that it rises; 0 (not of one_cycle): it does not
    c.optimizer.warmup_steps = 0  # or so many of them, if above 0; not of one_cycle
    c.optimizer.clip = 0.0  # largest norm of the gradients; 0: they are not clipped
    c.optimizer.b1 = 0.9
    c.optimizer.b2 = 0.999
    c.optimizer.eps = 1e-6
    c.optimizer.moments = "float32"  # or bfloat16: of the first; the second stays in float32
    c.optimizer.weight_decay = config_dict.placeholder(float)  # none (adamw): 1 / (lr · steps)
    c.optimizer.decayed = r"kernel$|embedding$|rows$"  # paths that decay: no bias, norm or scale
    c.optimizer.frozen = ""  # paths (regex) that do not train at all; "": every parameter trains

    c.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})  # -1: all remaining devices
    # Parameter path (regex, first match) → mesh axis of each dimension. A parameter without a rule
    # is an error: a new part must say how it is laid out.
    c.sharding = (
        (r"lora/.*/[ab]$", ()),
        (r"fields/\w+/embedding$", ("tensor", "fsdp")),
        (r"fields/(combine|\w+/(dense|out))/kernel$", (None, "fsdp")),
        (r"fields/(specials|norm/\w+|combine/bias|\w+/((dense|out)/bias|rows|basis|in_\w+))$", ()),
        (r"(fields|condition)/?\w+/(norm/\w+|rows)$", ()),
        (r"attention/qkv/kernel$", (None, "fsdp", None, "tensor", None)),
        (r"attention/qkv/bias$", (None, None, "tensor", None)),
        (r"attention/out/kernel$", (None, "tensor", None, "fsdp")),
        (r"attention/features$", ()),
        (r"encoder/\w+/mlp/(in|gate)/kernel$", (None, "fsdp", "tensor")),
        (r"encoder/\w+/mlp/(in|gate)/bias$", (None, "tensor")),
        (r"encoder/\w+/mlp/out/kernel$", (None, "tensor", "fsdp")),
        (r"encoder/.*(norm\d?/(scale|bias)|scale\d/scale|out/bias)$", ()),
        (r"pool/dense/kernel$", ("fsdp", "tensor")),
        (r"pool/dense/bias$", ()),
        (r"heads/\w+/transform/", ()),
        (r"heads/\w+/(query|(zero_)?(in|out|hidden)\w*)/(kernel|bias)$", ()),
        (r"heads/\w+/(norm_\d+/\w+|slope|(product|zero|out)_(kernel|bias))$", ()),
        (r"heads/\w+/parts(_bias)?$", ()),
        (r"heads/\w+/rows$", ("tensor", "fsdp")),
        (r"heads/\w+/(bias|values)$", ("tensor",)),
        (r"heads/\w+/blocks_\d+/in/kernel$", ("fsdp", "tensor")),
        (r"heads/\w+/blocks_\d+/in/bias$", ("tensor",)),
        (r"heads/\w+/blocks_\d+/out/kernel$", ("tensor", "fsdp")),
        (r"heads/\w+/blocks_\d+/out/bias$", ()),
    )

    c.embed = ConfigDict()
    c.embed.input = ""  # h5ad, or scanpy:pbmc68k_reduced
    c.embed.genes = 0  # genes shown for each cell, drawn as in training; 0: all that it measured,
    # of a sequence all that it expresses, and beside them
    c.embed.zeros = (
        "exclude"  # these zeros; or all, vocabulary, interleave (as in training), random
    )
    c.embed.draws = 1  # of so many genes; their vectors are averaged
    c.embed.unit = False  # vectors are scaled to length 1
    c.embed.micro_batch = 16  # cells of one compiled shape; part of the model, not of the call
    c.prepare = ConfigDict({"files": (), "labels": (), "hold_out": ()})
    c.prepare.hold_out_fraction = 0.0
    c.prepare.min_genes = 0  # a cell with fewer genes is dropped
    c.prepare.min_cells = 0  # a gene in fewer cells is dropped
    c.prepare.allow_non_integer = False
    c.prepare.given = "counts"  # that the files hold; log1p: log-normalised already
    c.prepare.measured_by = ""  # obs column: a gene no cell of a value has is not measured there
    c.prepare.hvg = 0  # most variable genes to keep; 0: all genes
    c.prepare.hvg_flavor = "seurat"  # or cell_ranger, seurat_v3, bioformer
    c.prepare.hvg_batch = ""  # obs column of the flavour's batches; '': each dataset is one
    c.evaluate = ConfigDict({"label": "", "batch": ""})
    c.evaluate.baselines = ()  # names of jaxcell.evaluate's baselines=; (): all
    c.evaluate.genes = ""  # of the baselines genes…: vocabulary.json, a store, or a list of genes
    c.evaluate.protocols = ()  # papers whose own metrics are shown too: scformer, bioformer
    c.evaluate.seeds = 1  # whatever draws is repeated so often; above 1 the tables show ± sd
    return c
