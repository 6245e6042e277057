import itertools

import numpy as np
import pytest

from jaxcell.data.prepare import prepare
from jaxcell.data.preparing import blocks, shards
from jaxcell.data.preparing.blocks import cut, rows
from jaxcell.data.splits import DROPPED, TRAIN, VALID
from tests.data.conftest import cells, counts


def test_rows_of_a_source():
    assert rows(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert rows(8, 4) == [(0, 4), (4, 8)]
    assert rows(blocks.CELLS) == [(0, blocks.CELLS)]


@pytest.mark.parametrize("shards_asked", [None, 1, 2, 3, 7, 40, 1000])
@pytest.mark.parametrize("seed", range(6))
def test_blocks_hold_every_row_once_and_kept_cells_evenly(seed, shards_asked, monkeypatch):
    monkeypatch.setattr(blocks, "CELLS", 10)
    random = np.random.default_rng(seed)
    chances = random.dirichlet([2, 1, 0.4 + seed])
    splits = [
        random.choice([TRAIN, VALID, DROPPED], random.integers(1, 40), p=chances).astype(np.int8)
        for _ in range(5)
    ]
    splits[3][:] = DROPPED  # a source without any kept cell
    splits[0][0] = TRAIN
    found = cut(splits, shards_asked)
    kept = sum(int((s >= 0).sum()) for s in splits)
    assert len(found) == min(shards_asked or -(-kept // 10), kept)
    pieces = [piece for block in found for piece in block.pieces]
    for (a, _, stop), (b, start, _) in itertools.pairwise(pieces):
        assert (b == a and start == stop) or (b == a + 1 and start == 0 and stop == len(splits[a]))
    assert sum(stop - start for _, start, stop in pieces) == sum(map(len, splits))
    sizes = [sum(block.sizes.values()) for block in found]
    assert max(sizes) - min(sizes) <= 1
    for s, name in enumerate(("train", "valid")):
        wanted = [int(sum((splits[p][a:b] == s).sum() for p, a, b in x.pieces)) for x in found]
        assert [block.sizes[name] for block in found] == wanted
        named = [block for block in found if name in block.files]
        assert all((name in block.files) == (block.sizes[name] > 0) for block in found)
        assert [block.files[name] for block in named] == [
            f"{name}-{i:05}-of-{len(named):05}.array_record" for i in range(len(named))
        ]
        before = np.cumsum([0, *wanted])
        assert [block.first[name] for block in found] == before[:-1].tolist()


def test_the_digest_is_that_of_the_cells_in_any_grouping_and_order(tmp_path):
    options = {"labels": ["type"], "hold_out_fraction": 0.2, "progress": False}
    made = [
        prepare(tmp_path / f"{n}", cells(counts(50)), shards=n, **options) for n in (1, 3, 17, 50)
    ]
    assert len({store.content_hash for store in made}) == 1
    # Each of the things that a cell is made of changes it, and so does its place.
    other = cells(counts(50))
    other.X[7, 3] += 1
    swapped = cells(counts(50)[[1, 0, *range(2, 50)]])
    relabelled = cells(counts(50))
    relabelled.obs["type"] = np.roll(relabelled.obs["type"].to_numpy(), 3 * 7 + 1)
    hashes = {made[0].content_hash}
    for i, changed in enumerate((other, swapped, relabelled)):
        hashes.add(prepare(tmp_path / f"other{i}", changed, **options).content_hash)
    assert len(hashes) == 4


def test_digest_text_is_modulo_2_to_the_256():
    assert shards.digest_text(2**256 + 17) == f"{17:064x}"
    assert len(shards.digest_text(0)) == 64
