"""How a quantizer lives: saved, copied, narrowed, recomputed. The second half of the contract."""

import copy

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import codeword
from codeword import Quantized
from codeword.quantizers.config import describe
from contracts.steps import ORDER, ROUNDING, ROWS, assert_same_state, objective, state, train, vectors


class Life:
    """Saving, precision, and one optimizer step however it is computed."""

    # --- keeping it ---

    def test_saved_and_loaded(self, tmp_path):
        quantizer, x = self.trained(), vectors(dim=self.dim, seed=1)
        quantizer.save_pretrained(tmp_path)
        for loaded in (codeword.load(tmp_path), type(quantizer).from_pretrained(tmp_path)):
            assert type(loaded) is type(quantizer)
            assert not loaded.training
            assert describe(loaded) == describe(quantizer)
            assert repr(loaded) == repr(quantizer)
            assert_same_state(loaded, quantizer)
            assert torch.equal(loaded.encode(x), quantizer.encode(x))
            assert torch.equal(loaded(x).vectors, quantizer(x).vectors)

    def test_state_dict_restores_the_start(self):
        quantizer, x = self.trained(), vectors(dim=self.dim, seed=1)
        torch.manual_seed(7)
        fresh = self.create()
        fresh.load_state_dict(quantizer.state_dict(), strict=True)
        assert torch.equal(fresh.eval().encode(x), quantizer.encode(x))
        codeword.update(fresh)
        codeword.update(quantizer)
        for one in (fresh.train(), quantizer.train()):
            torch.manual_seed(1)
            objective(one(x), x)
            codeword.update(one)
        assert_same_state(fresh, quantizer)

    def test_a_copy_lives_alone(self):
        quantizer, x = self.trained(), vectors(dim=self.dim, seed=1)
        copied, before = copy.deepcopy(quantizer), state(quantizer)
        train(copied, x, steps=2)
        assert all(torch.equal(value, before[name]) for name, value in state(quantizer).items())
        assert any(not torch.equal(value, before[name]) for name, value in state(copied).items())
        assert torch.equal(copied.eval()(x).codes, copied.encode(x))

    # --- precision ---

    def test_a_bfloat16_model_keeps_float32_statistics(self):
        quantizer, x = self.trained().to(torch.bfloat16), vectors(dim=self.dim, seed=1).to(torch.bfloat16)
        assert {buffer.dtype for buffer in quantizer.buffers() if buffer.is_floating_point()} <= {torch.float32}
        assert all(parameter.dtype == torch.bfloat16 for parameter in quantizer.parameters())
        out = quantizer(x)
        assert out.vectors.dtype == torch.bfloat16
        assert torch.equal(out.codes, quantizer.encode(x))
        assert torch.equal(out.vectors, quantizer.decode(out.codes).to(torch.bfloat16))
        quantizer.train()
        objective(quantizer(x.requires_grad_()), x).backward()
        codeword.update(quantizer)
        assert torch.isfinite(x.grad).all()

    def test_bfloat16_input(self):
        quantizer, x = self.trained(), vectors(dim=self.dim, seed=1).to(torch.bfloat16)
        out = quantizer(x)
        assert out.vectors.dtype == torch.bfloat16
        assert torch.equal(out.codes, quantizer.encode(x))
        assert torch.equal(out.codes, quantizer.encode(x.float()))
        assert torch.equal(out.vectors, quantizer.decode(out.codes).to(torch.bfloat16))
        quantizer.train()
        out = quantizer(x.requires_grad_())
        assert out.loss.dtype == torch.float32
        assert out.vectors.dtype == torch.bfloat16
        objective(out, x).backward()
        assert torch.isfinite(x.grad).all()

    def test_autocast_changes_nothing(self):
        plain, narrow = self.trained().train(), self.trained().train()
        x = vectors(dim=self.dim, seed=1)
        torch.manual_seed(1)
        left = plain(x)
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            right = narrow(x)
            codes = narrow.encode(x)
            assert torch.equal(codes, narrow.eval()(x).codes)
            assert torch.equal(narrow.decode(codes), plain.decode(codes))
            assert torch.equal(narrow.scores(x, 0), plain.scores(x, 0))
        assert torch.equal(codes, plain.encode(x))
        assert torch.equal(left.codes, right.codes)
        assert torch.equal(left.vectors, right.vectors)
        assert torch.equal(left.loss, right.loss)
        assert_same_state(plain, narrow)

    def test_float64_input(self):
        quantizer, x = self.trained(), vectors(dim=self.dim, seed=1).double()
        out = quantizer(x)
        assert out.vectors.dtype == torch.float64
        assert torch.equal(out.codes, quantizer.encode(x))
        assert torch.equal(out.codes, quantizer.double().encode(x))

    # --- one optimizer step, however it is computed ---

    @pytest.mark.parametrize("reentrant", [True, False])
    @pytest.mark.parametrize("managed", [True, False])
    def test_recomputation_adds_nothing(self, reentrant, managed):
        results = []
        for again in (False, True):
            torch.manual_seed(0)
            quantizer = self.create().train()
            for step in range(3):
                x = vectors(dim=self.dim, seed=step).requires_grad_()
                torch.manual_seed(step)
                out = Quantized(*checkpoint(quantizer, x, use_reentrant=reentrant)) if again else quantizer(x)
                quantizer.zero_grad()
                objective(out, x).backward()
                if managed:
                    codeword.update(quantizer)
            results.append((quantizer, x.grad, [p.grad for p in quantizer.parameters()]))
        (plain, dx, dp), (checked, again_dx, again_dp) = results
        assert_same_state(plain, checked)
        torch.testing.assert_close(again_dx, dx, rtol=0, atol=ORDER)
        torch.testing.assert_close(again_dp, dp, rtol=0, atol=ORDER)

    def test_several_forwards_before_one_backward(self):
        torch.manual_seed(0)
        alone, managed = self.create().train(), self.trained().train()
        for quantizer in (alone, managed):
            x = vectors(dim=self.dim).requires_grad_()
            loss = sum(objective(quantizer(x[part]), x[part]) for part in (slice(0, 40), slice(20, 60)))
            if quantizer is managed:  # who never calls update moves the codebook in between
                loss = loss + quantizer.scores(x, 0).sum() + quantizer(x).loss
            loss.backward()
            assert torch.isfinite(x.grad).all()
            assert (x.grad[:, 0] != 0).any()

    def test_accumulation_is_one_large_batch(self):
        whole, parts = self.trained().train(), self.trained().train()
        x = vectors(dim=self.dim, seed=1)
        for one in (whole, parts):
            codeword.update(one)
        whole(x)
        for part in x.split(ROWS // 3):
            parts(part)
        if self.whole:  # depths drawn for one large batch are others than those drawn for its parts
            assert_same_state(whole, parts, rtol=ROUNDING, atol=ROUNDING)
            for one in (whole, parts):
                codeword.update(one)
            assert_same_state(whole, parts, rtol=ROUNDING, atol=ROUNDING)
