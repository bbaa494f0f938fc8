"""To FAISS and back: codes byte for byte, neighbours, and what does not fit."""

import builtins

import numpy as np
import pytest
import torch

from codeword.quantizers import Beam, ProductQuantizer, ResidualQuantizer
from codeword.search import CodedIndex, FlatIndex, InvertedIndex, from_faiss, to_faiss
from reference.indexes import build, level, random_codes, rotation

COUNT, K = 500, 10
CLOSE = 2e-5  # relative: FAISS sums a distance in float32


def rows(count, dim=12, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def coded(quantizer, metric="l2", count=COUNT):
    index = CodedIndex(quantizer, metric=metric)
    index.add_codes(random_codes(quantizer.sizes, count))
    return index


def inverted(quantizer, *, by_residual=True, metric="l2"):
    cells = level(torch.Generator().manual_seed(7), quantizer.dim, 8, scale=2.0)
    index = InvertedIndex(cells, quantizer, by_residual=by_residual, metric=metric)
    lists = torch.randint(7, (COUNT,), generator=torch.Generator().manual_seed(3))
    index.add_codes(random_codes(quantizer.sizes, COUNT), lists)
    return index


def same_search(ours, theirs, dim=12, **options):
    """Equal distances, and equal ids where distances differ enough."""
    wanted = rows(30, dim, seed=5)
    found = ours.search(wanted, K, **options)
    distances, ids = theirs.search(wanted.numpy(), K)
    scale = max(1.0, np.abs(distances).max())
    np.testing.assert_allclose(found.distances.numpy(), distances, rtol=CLOSE, atol=CLOSE * scale)
    gaps = np.abs(np.diff(distances, axis=1)) > 4 * CLOSE * scale
    clear = np.pad(gaps, ((0, 0), (1, 0)), constant_values=True) & np.pad(gaps, ((0, 0), (0, 1)))
    assert clear.any() and (found.ids.numpy() == ids)[clear].all()


def packed_by_faiss(faiss, codes, widths):
    codes = np.ascontiguousarray(codes, dtype=np.int32)
    return faiss.pack_bitstrings(codes, list(widths))


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_flat(faiss, metric):
    index = FlatIndex(12, metric=metric)
    index.add(rows(300))
    theirs = to_faiss(index)
    assert isinstance(theirs, faiss.IndexFlat) and theirs.ntotal == 300
    same_search(index, theirs)
    again = from_faiss(theirs)
    assert isinstance(again, FlatIndex) and again.metric == metric and (again.vectors == index.vectors).all()


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("size", [16, 64, 256, 1024])
def test_product_codes_of_every_width(faiss, size, metric):
    index = coded(build("product", sizes=(size,) * 4), metric)
    theirs = to_faiss(index)
    assert isinstance(theirs, faiss.IndexPQ)
    stored = faiss.vector_to_array(theirs.codes).reshape(COUNT, -1)
    assert (stored == packed_by_faiss(faiss, index.codes, [size.bit_length() - 1] * 4)).all()
    assert (theirs.reconstruct_n(0, COUNT) == index.quantizer.decode(index.codes.long()).detach().numpy()).all()
    same_search(index, theirs)
    again = from_faiss(theirs)
    assert isinstance(again, CodedIndex) and (again.codes == index.codes).all()
    assert (faiss.vector_to_array(to_faiss(again).codes).reshape(COUNT, -1) == stored).all()


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("sizes", [(16,) * 4, (64,) * 3, (256, 256), (1024, 1024), (1024, 16, 64, 2), (256,)])
@pytest.mark.parametrize("kind", ["residual", "beam", "additive"])
def test_additive_codes_of_every_width(faiss, kind, sizes, metric):
    index = coded(build(kind, sizes=sizes), metric)
    theirs = to_faiss(index)
    plain = kind == "additive" and len(set(sizes)) == 1
    assert isinstance(theirs, faiss.IndexLocalSearchQuantizer if plain else faiss.IndexResidualQuantizer)
    widths = [size.bit_length() - 1 for size in sizes]
    stored = faiss.vector_to_array(theirs.codes).reshape(COUNT, -1)
    if metric == "ip":  # no norm stands behind the codes
        assert (stored == packed_by_faiss(faiss, index.codes, widths)).all()
    elif sum(widths) % 8 == 0:
        assert (stored[:, : sum(widths) // 8] == packed_by_faiss(faiss, index.codes, widths)).all()
    decoded = index.quantizer.decode(index.codes.long()).detach().numpy()
    np.testing.assert_allclose(theirs.reconstruct_n(0, COUNT), decoded, rtol=1e-6, atol=1e-6)
    same_search(index, theirs)
    again = from_faiss(theirs)
    assert (again.codes == index.codes).all()
    assert (again.quantizer.decode(index.codes.long()) == index.quantizer.decode(index.codes.long())).all()
    assert (faiss.vector_to_array(to_faiss(again).codes).reshape(COUNT, -1) == stored).all()


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("kind", ["groups", "rotated", "normalized", "projected", "vector"])
def test_composed_quantizers(faiss, kind, metric):
    index = coded(build(kind, sizes=(4096,)) if kind == "vector" else build(kind), metric)
    theirs = to_faiss(index)
    expected = {
        "groups": faiss.IndexProductResidualQuantizer,
        "rotated": faiss.IndexPreTransform,
        "vector": faiss.IndexPQ,
    }
    assert isinstance(theirs, expected.get(kind, faiss.IndexLocalSearchQuantizer))
    same_search(index, theirs)
    again = from_faiss(theirs)
    assert (again.codes == index.codes).all()
    decoded = index.quantizer.decode(index.codes.long()).detach()
    torch.testing.assert_close(again.quantizer.decode(index.codes.long()), decoded, rtol=1e-5, atol=1e-5)


def test_a_bare_quantizer_becomes_an_empty_index_that_encodes_like_it(faiss):
    for kind in ("product", "residual", "beam", "groups", "rotated"):
        quantizer = build(kind)
        theirs = to_faiss(quantizer)
        assert theirs.ntotal == 0 and theirs.is_trained
        theirs.add(rows(200).numpy())
        assert (from_faiss(theirs).codes == quantizer.encode(rows(200))).all()
        assert isinstance(from_faiss(theirs).quantizer, type(quantizer))


@pytest.mark.parametrize("kind", ["product", "residual", "additive", "groups", "rotated"])
@pytest.mark.parametrize("fast_scan", [False, True])
def test_nothing_stored(faiss, kind, fast_scan):
    quantizer = build(kind)
    if not (fast_scan and kind == "groups"):
        theirs = to_faiss(quantizer, fast_scan=fast_scan)
        again = from_faiss(theirs)
        assert len(again) == theirs.ntotal == 0
        theirs.add(rows(40).numpy())
        assert len(from_faiss(theirs)) == 40
    if not fast_scan or kind in ("product", "rotated"):
        cells = level(torch.Generator().manual_seed(7), 12, 8)
        again = from_faiss(to_faiss(InvertedIndex(cells, quantizer), fast_scan=fast_scan))
        assert len(again) == 0 and (again.search(rows(2), 1).ids == -1).all()


def test_parts_that_have_no_common_shape_are_one_sum(faiss):
    generator = torch.Generator().manual_seed(0)
    unequal = ProductQuantizer([level(generator, 4, 16), level(generator, 8, 64)]).eval()
    mixed = ProductQuantizer([ResidualQuantizer([level(generator, 6, 16)] * 2), level(generator, 6, 16)]).eval()
    beams = [ResidualQuantizer([level(generator, 6, 16)] * 2, search=Beam(width)) for width in (1, 3)]
    for quantizer in (unequal, mixed, ProductQuantizer(beams).eval()):
        index = coded(quantizer)
        theirs = to_faiss(index)
        assert isinstance(theirs, faiss.IndexResidualQuantizer | faiss.IndexLocalSearchQuantizer)
        same_search(index, theirs)
        assert (from_faiss(theirs).codes == index.codes).all()


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("by_residual", [True, False])
@pytest.mark.parametrize("kind", ["product", "residual", "beam", "additive", "groups", "rotated"])
def test_inverted_lists(faiss, kind, by_residual, metric):
    index = inverted(build(kind), by_residual=by_residual, metric=metric)
    theirs = to_faiss(index)
    inner = faiss.downcast_index(theirs.index) if kind == "rotated" else theirs
    expected = {
        "groups": faiss.IndexIVFProductResidualQuantizer,
        "rotated": faiss.IndexIVFPQ,
        "product": faiss.IndexIVFPQ,
        "additive": faiss.IndexIVFLocalSearchQuantizer,
    }
    assert isinstance(inner, expected.get(kind, faiss.IndexIVFResidualQuantizer)) and theirs.ntotal == COUNT
    inner.nprobe = 3
    same_search(index, theirs, probes=3)
    again = from_faiss(theirs)
    assert isinstance(again, InvertedIndex) and again.by_residual == by_residual
    for number in range(8):
        ours, back = index.members(number), again.members(number)
        assert (ours[0] == back[0]).all() and (ours[1] == back[1]).all()
    outer = to_faiss(again)  # owns what it wraps
    repeated = faiss.downcast_index(outer.index) if kind == "rotated" else outer
    for number in range(8):
        assert bytes_of_list(faiss, inner, number) == bytes_of_list(faiss, repeated, number)


def bytes_of_list(faiss, index, number):
    size = index.invlists.list_size(number)
    if not size:
        return b""
    return faiss.rev_swig_ptr(index.invlists.get_codes(number), size * index.code_size).tobytes()


def test_lists_of_mixed_sizes(faiss):
    index = inverted(build("residual", sizes=(1024, 16, 64, 2)))
    theirs = to_faiss(index)
    theirs.nprobe = 8
    same_search(index, theirs, probes=8)
    assert (from_faiss(theirs).members(2)[1] == index.members(2)[1]).all()


@pytest.mark.parametrize("kind", ["product", "residual", "additive"])
@pytest.mark.parametrize("count", [1, 33, COUNT])
def test_fast_scan(faiss, kind, count):
    index = coded(build(kind), count=count)
    theirs = to_faiss(index, fast_scan=True)
    assert isinstance(theirs, faiss.IndexFastScan) and theirs.ntotal == count
    overlap_with(index, theirs)
    assert (from_faiss(theirs).codes == index.codes).all()
    copy = faiss.deserialize_index(faiss.serialize_index(theirs))
    assert (copy.search(rows(30).numpy(), 1)[1] == theirs.search(rows(30).numpy(), 1)[1]).all()


@pytest.mark.parametrize("by_residual", [True, False])
def test_fast_scan_in_lists(faiss, by_residual):
    index = inverted(build("product"), by_residual=by_residual)
    theirs = to_faiss(index, fast_scan=True)
    theirs.nprobe = 8
    overlap_with(index, theirs, probes=8)
    again = from_faiss(theirs)
    for number in range(8):
        ours, back = index.members(number), again.members(number)
        assert (ours[0] == back[0]).all() and (ours[1] == back[1]).all()


def overlap_with(ours, theirs, **options):
    """FAISS rounds its tables to 8 bits there, so only most neighbours are the same."""
    wanted = rows(50, seed=5)
    found = ours.search(wanted, K, **options).ids.numpy()
    _, ids = theirs.search(wanted.numpy(), K)
    shared = [len(set(a) & set(b)) / len(set(a)) for a, b in zip(found.tolist(), ids.tolist(), strict=True)]
    assert np.mean(shared) > 0.7


def test_what_faiss_trained_is_read(faiss):
    data = rows(2000, 16).numpy()
    for key in (
        "PQ4x6",
        "OPQ4,PQ4x4",
        "RQ3x5",
        "LSQ2x4",
        "PRQ2x2x4",
        "PLSQ2x2x4",
        "IVF8,PQ4x4",
        "IVF8,RQ2x4",
        "PQ4x4fs",
    ):
        theirs = faiss.index_factory(16, key)
        if key.startswith("OPQ"):
            faiss.downcast_VectorTransform(theirs.chain.at(0)).niter = 1
        theirs.train(data)
        theirs.add(data)
        ours = from_faiss(theirs)
        assert len(ours) == 2000
        inner = faiss.downcast_index(theirs.index) if isinstance(theirs, faiss.IndexPreTransform) else theirs
        if isinstance(inner, faiss.IndexIVF):
            inner.make_direct_map()
            lists = [ours.members(number) for number in range(8)]
            vectors = torch.cat([ours.centroids[i] + ours.quantizer.decode(c.long()) for i, (_, c) in enumerate(lists)])
            order = torch.cat([ids for ids, _ in lists]).argsort()
            decoded = vectors[order]
        else:
            decoded = ours.quantizer.decode(ours.codes.long())
        np.testing.assert_allclose(decoded.detach(), theirs.reconstruct_n(0, 2000), rtol=1e-5, atol=1e-5)


def test_sizes_that_are_no_powers_of_two(faiss):
    for kind in ("product", "residual", "additive"):
        with pytest.raises(ValueError, match="codebook sizes must be powers of two from 2, got 12"):
            to_faiss(build(kind, sizes=(16, 12, 16, 16)))
    with pytest.raises(ValueError, match="powers of two from 2, got 1"):
        to_faiss(build("residual", sizes=(16, 1)))


def test_what_cannot_be_exported(faiss):
    index = coded(build("residual"))
    codes = random_codes(index.quantizer.sizes, 3)
    codes[0, 3] = -1
    index.add_codes(codes)
    with pytest.raises(ValueError, match="variable depth"):
        to_faiss(index)
    with pytest.raises(ValueError, match="codebooks of 16 codewords, got sizes"):
        to_faiss(build("product", sizes=(32,) * 4), fast_scan=True)
    with pytest.raises(ValueError, match="product-residual codes are not exported to fast scan"):
        to_faiss(build("groups"), fast_scan=True)
    with pytest.raises(ValueError, match="for product codes only, this is residual"):
        to_faiss(inverted(build("residual")), fast_scan=True)


def test_what_cannot_be_imported(faiss):
    with pytest.raises(ValueError, match="IndexHNSWFlat has no counterpart"):
        from_faiss(faiss.IndexHNSWFlat(8, 4))
    with pytest.raises(ValueError, match="IndexPQ of FAISS is not trained"):
        from_faiss(faiss.IndexPQ(8, 2, 4))
    with pytest.raises(ValueError, match="only L2 and inner product"):
        from_faiss(faiss.IndexFlat(8, faiss.METRIC_L1))
    numbered = to_faiss(inverted(build("product")))
    numbered.add_with_ids(rows(1).numpy(), np.array([7777]))
    with pytest.raises(ValueError, match="has ids of its own"):
        from_faiss(numbered)
    stretched = faiss.LinearTransform(12, 12, False)
    faiss.copy_array_to_vector((2 * rotation(torch.Generator(), 12)).numpy().reshape(-1), stretched.A)
    stretched.is_trained = True
    with pytest.raises(ValueError, match="not orthonormal"):
        from_faiss(faiss.IndexPreTransform(stretched, to_faiss(build("product"))))
    narrow = faiss.LinearTransform(20, 12, False)
    faiss.copy_array_to_vector(np.zeros(240, np.float32), narrow.A)
    narrow.is_trained = True
    with pytest.raises(ValueError, match="one square rotation"):
        from_faiss(faiss.IndexPreTransform(narrow, to_faiss(build("product"))))


def test_faiss_is_missing(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name == "faiss":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ValueError, match=r"FAISS is not installed: pip install 'codeword\[search\]'"):
        to_faiss(build("product"))


@pytest.mark.parametrize("key", ["Residual2x4,PQ4x4", "IVF8,PQR"])
def test_more_than_the_codes_of_one_codec_is_refused(faiss, key):
    """Classes that have a pq, but keep list numbers or a second code in front of or behind its codes."""
    if key == "IVF8,PQR":
        cells = faiss.IndexFlatL2(16)
        theirs = faiss.IndexIVFPQR(cells, 16, 8, 4, 4, 4, 4)
    else:
        theirs = faiss.index_factory(16, key)
    data = rows(1000, 16).numpy()
    theirs.train(data)
    theirs.add(data)
    with pytest.raises(ValueError, match=f"{type(theirs).__name__} has no counterpart here"):
        from_faiss(theirs)
