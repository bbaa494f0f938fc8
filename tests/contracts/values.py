"""What a quantizer computes: the first half of the contract."""

import copy

import jaxtyping
import pytest
import torch

import codeword
from codeword.quantizers.update import codebooks_of
from contracts.steps import (
    ROUNDING,
    ROWS,
    assert_finite,
    assert_same_state,
    objective,
    one_line,
    state,
    train,
    vectors,
)
from reference.quantizers import walk


class Values:
    """Agreement, shapes, padding, evaluation, tables, faults and depth; ``Contract`` says what it needs."""

    # --- one quantizer, three ways to ask it ---

    def test_forward_encode_and_decode_agree(self):
        quantizer, x = self.trained(), vectors(dim=self.dim, seed=1)
        out = quantizer(x)
        codes = quantizer.encode(x)
        assert codes.dtype == torch.int64
        assert not codes.requires_grad
        assert torch.equal(out.codes, codes)
        assert torch.equal(out.vectors, quantizer.decode(codes))
        assert torch.equal(quantizer.encode(x), codes)
        assert quantizer.levels == len(quantizer.sizes) == codes.shape[-1]
        assert (codes >= 0).all()
        assert (codes < torch.tensor(quantizer.sizes)).all()
        assert quantizer.bits_per_vector == pytest.approx(sum(torch.tensor(quantizer.sizes).double().log2().tolist()))

    def test_training_gives_the_codes_of_encode(self):
        quantizer, x = self.trained().train(), vectors(dim=self.dim, seed=1)
        codes = quantizer.encode(x)
        out = quantizer(x.clone().requires_grad_())
        if self.whole:
            assert torch.equal(out.codes, codes)
        elif self.greedy:
            assert torch.equal(out.codes, torch.where(out.codes < 0, -1, codes))
        if self.exact:
            torch.testing.assert_close(out.vectors, quantizer.decode(out.codes), rtol=0, atol=ROUNDING)

    def test_codes_follow_the_rule_of_nearest(self):
        quantizer, x = self.trained(), vectors(200, self.dim, seed=2)
        codes = quantizer.encode(x)
        if self.greedy:
            found = walk(quantizer, x, codes)
            assert (found.best == codes).float().mean() > 0.99
            if not self.projects:
                assert found.excess.max() <= 1
            torch.testing.assert_close(quantizer.decode(codes).double(), found.decoded, rtol=0, atol=ROUNDING)
        else:
            assert self.error(quantizer, x) <= self.error_of_chance(quantizer, x) / 2

    def test_data_far_from_the_origin_gets_its_true_codes(self):
        if not self.starts_at_data:
            return
        torch.manual_seed(0)
        near, far = vectors(dim=self.dim), vectors(dim=self.dim, offset=5000.0)
        quantizer = self.create()
        if isinstance(quantizer, codeword.Normalized):
            quantizer.standardize(far)
        train(quantizer, far, steps=1).eval()
        x = far + 0.1 * vectors(dim=self.dim, seed=3)
        codes = quantizer.encode(x)
        if self.greedy:
            found = walk(quantizer, x, codes)
            assert (found.best == codes).float().mean() >= 0.99
        if not self.projects:
            assert self.error(quantizer, x) < near.square().sum(1).mean()

    def test_codes_do_not_depend_on_the_batch(self):
        quantizer, x = self.trained(), vectors(400, self.dim, seed=4)
        codes = quantizer.encode(x)
        for rows, several in ((1, 12), (7, 70), (64, 400)):
            parts = x[:several].split(rows)
            assert torch.equal(torch.cat([quantizer.encode(part) for part in parts]), codes[:several])
        order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
        assert torch.equal(quantizer.encode(x[order]), codes[order])
        assert torch.equal(quantizer.encode(torch.cat([1e3 * x[:33], x]))[33:], codes)
        assert torch.equal(quantizer.encode(x.t().contiguous().t()), codes)
        assert torch.equal(quantizer.encode(x.reshape(4, 5, 20, self.dim)), codes.reshape(4, 5, 20, -1))
        assert torch.equal(quantizer.decode(codes[3]), quantizer.decode(codes)[3])

    # --- shapes ---

    @pytest.mark.parametrize("training", [True, False])
    def test_any_leading_shape(self, training):
        quantizer = self.trained().train(training)
        for batch in [(), (0,), (1,), (2, 3), (2, 0, 3), (2, 1, 2, 2)]:
            x = vectors(24, self.dim)[: torch.Size(batch).numel()].reshape(*batch, self.dim).requires_grad_()
            out = quantizer(x)
            assert out.vectors.shape == x.shape
            assert out.codes.shape == (*batch, quantizer.levels)
            assert out.loss.shape == ()
            assert torch.isfinite(out.loss)
            assert quantizer.decode(out.codes).shape == x.shape
            assert quantizer.scores(x, quantizer.levels - 1).shape == (*batch, quantizer.sizes[-1])
            if training:
                objective(out, x).backward()
                assert torch.isfinite(x.grad).all()
                codeword.update(quantizer)
                assert_finite(quantizer)

    def test_the_first_batch_may_be_empty(self):
        torch.manual_seed(0)
        quantizer = self.create().train()
        assert quantizer(torch.zeros(0, self.dim)).codes.shape == (0, quantizer.levels)
        assert torch.isfinite(quantizer(vectors(dim=self.dim)).loss)

    def test_one_codeword(self):
        quantizer, x = self.trained(size=1), vectors(dim=self.dim)
        codes = quantizer.encode(x)
        assert (codes < torch.tensor(quantizer.sizes)).all()
        assert torch.equal(quantizer(x).vectors, quantizer.decode(codes))
        single = [level for level, size in enumerate(quantizer.sizes) if size == 1]
        assert single
        assert (codes[:, single] == 0).all()

    def test_fewer_vectors_than_codewords(self):
        torch.manual_seed(0)
        x = vectors(5, self.dim)
        quantizer = train(self.create(), x, steps=2).eval()
        assert_finite(quantizer)
        assert torch.isfinite(quantizer(x).vectors).all()

    # --- padding ---

    def mask(self):
        return torch.arange(ROWS) % 3 > 0

    @pytest.mark.parametrize("training", [True, False])
    def test_padding_comes_back_empty(self, training):
        quantizer, x, mask = self.trained().train(training), vectors(dim=self.dim, seed=1), self.mask()
        out = quantizer(x, mask)
        assert (out.vectors[~mask] == 0).all()
        assert (out.codes[~mask] == -1).all()
        if self.whole or not training:
            assert torch.equal(out.codes[mask], quantizer.encode(x)[mask])
        assert (quantizer.decode(out.codes)[~mask] == 0).all()

    @pytest.mark.parametrize("padding", [0.0, 1e6, float("nan"), float("inf")])
    def test_padding_touches_nothing(self, padding):
        x = vectors(dim=self.dim, seed=1)
        wide = torch.cat([x, torch.full((20, self.dim), padding)]).requires_grad_()
        mask = torch.arange(ROWS + 20) < ROWS
        plain, padded = self.trained().train(), self.trained().train()
        torch.manual_seed(1)
        left = plain(x)
        torch.manual_seed(1)
        right = padded(wide, mask)
        assert torch.equal(left.codes, right.codes[:ROWS])
        torch.testing.assert_close(right.loss, left.loss, rtol=ROUNDING, atol=0)
        (right.loss + right.vectors.square().sum()).backward()
        assert (wide.grad[ROWS:] == 0).all()
        assert torch.isfinite(wide.grad).all()
        codeword.update(plain)
        codeword.update(padded)
        assert_same_state(plain, padded)

    def test_a_mask_without_padding_is_no_mask(self):
        x = vectors(dim=self.dim, seed=1)
        plain, masked = self.trained().train(), self.trained().train()
        torch.manual_seed(1)
        left = plain(x)
        torch.manual_seed(1)
        right = masked(x, torch.ones(ROWS, dtype=torch.bool))
        assert torch.equal(left.codes, right.codes)
        assert torch.equal(left.vectors, right.vectors)
        torch.testing.assert_close(right.loss, left.loss, rtol=ROUNDING, atol=0)
        assert_same_state(plain, masked)

    def test_nothing_but_padding(self):
        quantizer, x = self.trained().train(), vectors(dim=self.dim, seed=1).requires_grad_()
        before = state(quantizer)
        out = quantizer(x, torch.zeros(ROWS, dtype=torch.bool))
        assert out.loss == 0
        (out.loss + out.vectors.sum()).backward()
        assert (x.grad == 0).all()
        codeword.update(quantizer)
        assert all(
            torch.equal(value, before[name]) for name, value in state(quantizer).items() if not name.endswith("steps")
        )
        torch.manual_seed(0)
        fresh = self.create().train()
        fresh(x, torch.zeros(ROWS, dtype=torch.bool))
        assert torch.isfinite(train(fresh, vectors(dim=self.dim)).eval()(x).vectors).all()

    # --- evaluation ---

    def test_evaluation_changes_no_state(self):
        quantizer, x = self.trained(), vectors(dim=self.dim, seed=1).requires_grad_()
        before = copy.deepcopy(quantizer)
        out = quantizer(x, self.mask())
        assert out.loss == 0
        assert not out.loss.requires_grad
        quantizer.decode(quantizer.encode(x))
        quantizer.scores(x, 0)
        assert_same_state(quantizer, before)
        assert [name for name, _ in quantizer.named_buffers()] == [name for name, _ in before.named_buffers()]

    def test_evaluation_before_a_start_says_so(self):
        torch.manual_seed(0)
        quantizer = self.create().eval()
        if all(book.is_seeded for book in codebooks_of(quantizer)):
            assert torch.isfinite(quantizer(vectors(dim=self.dim)).vectors).all()
        else:
            for call in (quantizer, quantizer.encode):
                with pytest.raises(ValueError, match=r"codeword\.seed") as error:
                    call(vectors(dim=self.dim))
                assert one_line(error)

    # --- tables and scores ---

    def test_decoding_adds_up_rows_of_codebooks(self):
        quantizer = self.trained()
        if not self.additive:
            with pytest.raises(ValueError) as error:
                quantizer.codebooks()
            assert one_line(error)
            return
        books = quantizer.codebooks()
        assert [book.shape for book in books] == [(size, self.dim) for size in quantizer.sizes]
        generator = torch.Generator().manual_seed(0)
        codes = torch.stack([torch.randint(0, size, (50,), generator=generator) for size in quantizer.sizes], 1)
        depth = torch.randint(0, quantizer.levels + 1, (50, 1), generator=generator)
        for given in (codes, torch.where(torch.arange(quantizer.levels) < depth, codes, -1)):
            total = sum(
                torch.where(c[:, None] >= 0, book[c], 0.0) for book, c in zip(books, given.unbind(1), strict=True)
            )
            torch.testing.assert_close(quantizer.decode(given), total, rtol=0, atol=ROUNDING)
        assert (quantizer.decode(torch.full_like(codes, -1)) == 0).all()

    def test_codes_beyond_a_codebook_are_named(self):
        quantizer = self.trained()
        for level, size in enumerate(quantizer.sizes):
            for wrong in (size, -2, -100):
                codes = quantizer.encode(vectors(5, self.dim))
                codes[3, level] = wrong
                with pytest.raises(ValueError, match=f"level {level} holds the code {wrong}") as error:
                    quantizer.decode(codes)
                assert one_line(error)

    @pytest.mark.parametrize("dtype", [torch.int16, torch.int32])
    def test_codes_may_be_small_integers(self, dtype):
        quantizer = self.trained()
        codes = quantizer.encode(vectors(dim=self.dim))
        codes[::7] = -1
        assert torch.equal(quantizer.decode(codes.to(dtype)), quantizer.decode(codes))

    def test_scores_are_largest_at_the_code(self):
        quantizer, x = self.trained(), vectors(dim=self.dim, seed=1)
        codes = quantizer.encode(x)
        for level in range(quantizer.levels):
            scores = quantizer.scores(x, level)
            if self.greedy:
                assert torch.equal(scores.argmax(-1), codes[:, level])
            assert torch.isfinite(scores).all()
        for level in (-1, quantizer.levels):
            with pytest.raises(ValueError) as error:
                quantizer.scores(x, level)
            assert one_line(error)

    def test_scores_are_differentiable_at_every_level(self):
        quantizer, x = self.trained(), vectors(dim=self.dim, seed=1).requires_grad_()
        for level in range(quantizer.levels):
            soft = quantizer.scores(x, level).softmax(-1)[..., 0].sum()
            (grad,) = torch.autograd.grad(soft, x)
            assert torch.isfinite(grad).all()
            assert (grad != 0).any() or quantizer.sizes[level] == 1

    # --- what must not break it ---

    def test_rows_that_are_not_finite_poison_nothing(self):
        quantizer, clean = self.trained().train(), self.trained().train()
        x = vectors(dim=self.dim, seed=1)
        good = torch.arange(ROWS) >= 3
        x[0], x[1], x[2] = float("nan"), float("inf"), -float("inf")
        torch.manual_seed(1)
        out = quantizer(x)
        torch.manual_seed(1)
        clean(x, good)
        assert torch.equal(out.codes[good], quantizer.encode(x)[good]) or not self.whole
        for one in (quantizer, clean):
            codeword.update(one)
        assert_same_state(quantizer, clean)
        codes = quantizer.eval().encode(x)
        assert ((codes >= 0) & (codes < torch.tensor(quantizer.sizes))).all()
        fresh = self.create().train()
        fresh(x)
        assert_finite(fresh)

    @pytest.mark.parametrize("shape", [(3, 7), (6, 5), (5,)])
    def test_wrong_width(self, shape):
        quantizer = self.trained()
        for call in (quantizer, quantizer.encode, quantizer.train()):
            with pytest.raises(ValueError, match=str(self.dim)) as error:
                call(torch.zeros(shape))
            assert one_line(error)

    def test_wrong_masks_gates_depths_and_levels(self, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the shape hook of the tests speaks first
        quantizer, x = self.trained(), vectors(dim=self.dim)
        mistakes = [
            lambda: quantizer(x, torch.ones(ROWS - 1, dtype=torch.bool)),
            lambda: quantizer(x, torch.ones(ROWS, dtype=torch.int64)),
            lambda: quantizer(x, None, torch.ones(ROWS, quantizer.gates + 1)),
            lambda: quantizer.encode(x, depth=quantizer.gates + 1),
            lambda: quantizer.encode(x, depth=-1),
            lambda: quantizer.encode(x, depth=0.5),
            lambda: quantizer.encode(x, depth=torch.ones(ROWS - 1, dtype=torch.int64)),
            lambda: quantizer.decode(torch.zeros(3, quantizer.levels + 1, dtype=torch.int64)),
            lambda: quantizer.decode(torch.zeros(3, quantizer.levels)),
            lambda: quantizer(x.long()),
            lambda: quantizer(torch.zeros(())),
        ]
        for mistake in mistakes:
            with pytest.raises(ValueError) as error:
                mistake()
            assert one_line(error)

    # --- depth ---

    def test_a_gate_is_a_depth(self):
        quantizer, x = self.trained(), vectors(dim=self.dim, seed=1)
        if not quantizer.gates:
            return
        depth = torch.arange(ROWS) % (quantizer.gates + 1)
        gate = (torch.arange(quantizer.gates) < depth[:, None]).float()
        codes = quantizer.encode(x, depth)
        assert torch.equal(codes >= 0, self.opened(quantizer, gate))
        for training in (False, True):
            out = quantizer.train(training)(x.clone().requires_grad_(), None, gate)
            assert torch.equal(out.codes, codes)
            if self.exact or not training:
                torch.testing.assert_close(out.vectors, quantizer.decode(codes), rtol=0, atol=ROUNDING)
        assert torch.equal(quantizer.encode(x, quantizer.gates), quantizer.encode(x))
        assert (quantizer.encode(x, 0) == -1).all()

    def opened(self, quantizer, gate):
        """Which codes a gate opens: every stage's codes together; a product repeats its gates block by block."""
        inner = quantizer
        while hasattr(inner, "quantizer"):
            inner = inner.quantizer
        if hasattr(inner, "stages"):
            return torch.cat([gate[:, [m]].expand(-1, s.levels) for m, s in enumerate(inner.stages)], 1) > 0
        return torch.cat([self.opened(part, gate) for part in inner.parts], 1)

    # --- figures for searches that are not greedy ---

    def error(self, quantizer, x):
        return (quantizer.decode(quantizer.encode(x)) - x).double().square().sum(1).mean()

    def error_of_chance(self, quantizer, x):
        generator = torch.Generator().manual_seed(0)
        codes = torch.stack([torch.randint(0, size, (len(x),), generator=generator) for size in quantizer.sizes], 1)
        return (quantizer.decode(codes) - x).double().square().sum(1).mean()
