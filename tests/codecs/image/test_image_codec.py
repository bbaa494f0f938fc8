"""Images of any size through files: tiles equal the whole, rates are met, damage is named."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from codeword.codecs.image.codec import BitsPerPixel, ImageCodec, recoloured
from codeword.codecs.image.layout import PatchLayout, ResidualLayout
from codeword.codecs.image.model import ImageModel
from codeword.codecs.image.storage import fingerprint, write_image
from codeword.codecs.image.transform import ImageTransform
from codeword.codecs.rates import Levels, Scale
from codeword.formats.errors import FormatError
from codeword.formats.image import ImageFileReader, ImageFileWriter
from codeword.quantizers import ProductQuantizer, ResidualQuantizer, VectorQuantizer
from contracts.image_models import PATCH, image_codec, residual, smooth


@pytest.fixture(scope="module")
def codec():
    return image_codec()


def written(codec, image, rate):
    file = io.BytesIO()
    done = codec.compress(image, file, rate)
    assert done.num_bytes == len(file.getvalue())
    return done, file.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (8, 8), (40, 3), (90, 75)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_come_back(codec, size, channels):
    image = smooth(*size, channels)
    _, data = written(codec, image, Levels(4))
    reader = ImageFileReader(io.BytesIO(data), tables=codec.tables)
    made = codec.decompress(reader)
    assert made.shape == image.shape and made.dtype == torch.uint8
    codes = codec.encode(image).codes
    assert np.array_equal(reader.read_all(), codes)


@pytest.mark.parametrize(
    "model",
    [
        lambda: ImageModel(3, PATCH, residual(), importance=8),
        lambda: ImageModel(3, ResidualLayout(latent=16, width=16, inner=8), residual()),
    ],
)
@pytest.mark.parametrize("tile", [1, 3, 7])
def test_tiles_are_what_the_whole_image_gives(model, tile):
    torch.manual_seed(1)
    made = model()
    made.train()(smooth(64, 64).unsqueeze(0) / 255)
    if isinstance(made.layout, PatchLayout):
        torch.nn.init.normal_(made.encoder.last.weight, std=0.02)
        torch.nn.init.normal_(made.decoder.last.weight, std=0.02)
    image = smooth(83, 101)
    whole, parts = ImageTransform(made, tile=1000), ImageTransform(made, tile=tile)
    wanted, found = whole.encode(image), parts.encode(image)
    assert (found.codes != wanted.codes).any(-1).float().mean() < 0.01, "but for ties"
    if wanted.importance is not None:
        torch.testing.assert_close(found.importance, wanted.importance, atol=1e-5, rtol=0)
    (one,) = whole.decode(wanted.codes, (83, 101))
    many = torch.cat(list(parts.decode(wanted.codes, (83, 101))), 1)
    difference = (many.int() - one.int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 1e-3, "but for rounding"


def test_more_bits_are_met_and_make_better_images(codec):
    image = smooth(150, 130)
    least, most = (written(codec, image, Scale(scale))[0] for scale in codec.model.allocation.scales)
    errors = []
    for share in (0.1, 0.5, 0.9):
        wanted = least.bits_per_pixel + share * (most.bits_per_pixel - least.bits_per_pixel)
        done, data = written(codec, image, BitsPerPixel(wanted))
        assert done.bits_per_pixel == pytest.approx(wanted, rel=0.01)
        assert done.note == ""
        made = codec.decompress(ImageFileReader(io.BytesIO(data), tables=codec.tables))
        errors.append((made.float() - image.float()).square().mean().item())
    assert errors[0] > errors[1] > errors[2]
    assert least.levels < most.levels <= 4


def test_a_rate_beyond_reach_is_told(codec):
    image = smooth(64, 64)
    done, _ = written(codec, image, BitsPerPixel(50.0))
    assert done.note.startswith("50 bits per pixel was asked for")
    assert done.bits_per_pixel == pytest.approx(written(codec, image, Levels(4))[0].bits_per_pixel, rel=0.1)


def test_models_of_constant_depth_meet_rates_by_their_levels():
    torch.manual_seed(0)
    model = ImageModel(1, PatchLayout(latent=16, dim=8, inner=8), residual())
    model.train()(smooth(96, 96, 1).unsqueeze(0) / 255)
    codec = ImageCodec(model.eval())
    image = smooth(96, 96, 1)
    sizes = [written(codec, image, Levels(count))[0].num_bytes for count in (1, 2, 3, 4)]
    assert sizes == sorted(set(sizes))
    assert written(codec, image, BitsPerPixel(8 * sizes[2] / image.numel()))[0].levels == 3
    with pytest.raises(ValueError, match="constant depth: choose 1 to 4 levels"):
        written(codec, image, Scale(2.0))


def test_a_quantizer_without_levels_to_leave_out_is_a_codec_of_one_rate():
    torch.manual_seed(0)
    model = ImageModel(3, PATCH, ProductQuantizer([VectorQuantizer(8, 16) for _ in range(2)]))
    image = smooth(40, 40)
    model.train()(image.unsqueeze(0) / 255)
    codec = ImageCodec(model.eval())
    done, data = written(codec, image, Levels(2))
    assert done.note == ""
    assert codec.decompress(ImageFileReader(io.BytesIO(data))).shape == image.shape
    assert written(codec, image, BitsPerPixel(0.01))[0].levels == 2
    with pytest.raises(ValueError, match="codes of a ProductQuantizer stand together, 2 levels: got 1"):
        written(codec, image, Levels(1))
    parts = [ResidualQuantizer([VectorQuantizer(8, 16) for _ in range(2)]) for _ in range(2)]
    with pytest.raises(ValueError, match="2 gates for 4 levels: importance needs a residual quantizer"):
        ImageModel(3, PATCH, ProductQuantizer(parts), importance=8)
    with pytest.raises(ValueError, match="levels to leave out"):
        ImageModel(3, PATCH, ProductQuantizer([VectorQuantizer(8, 16) for _ in range(2)]), importance=8)


def test_what_the_model_cannot_spend_is_refused_before_a_byte_is_written(codec):
    for rate, message in [
        (Scale(0.5), "scales lie between 1 and 24"),
        (Levels(5), "choose 1 to 4, got 5"),
    ]:
        file = io.BytesIO()
        with pytest.raises(ValueError, match=message):
            codec.compress(smooth(8, 8), file, rate)
        assert not file.getvalue()
    with pytest.raises(ValueError, match="1 or 3 channels"):
        codec.compress(torch.zeros(4, 8, 8, dtype=torch.uint8), io.BytesIO(), Levels(1))
    for value in (0.0, float("nan")):
        with pytest.raises(ValueError, match="is positive"):
            BitsPerPixel(value)


def test_damage_is_named_and_the_rest_salvaged(codec):
    image = smooth(600, 64)
    file = io.BytesIO()
    codes = codec.transform.encode(image).codes.numpy().astype(np.int64)
    _, data = written(codec, image, Levels(4))
    header = ImageFileReader(io.BytesIO(data)).header
    with ImageFileWriter(file, header, tables=codec.tables, chunk_rows=25) as writer:
        writer.write(codes)
    damaged = bytearray(file.getvalue())
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(FormatError, match="chunk"):
        codec.decompress(ImageFileReader(io.BytesIO(bytes(damaged)), tables=codec.tables))
    found, report = codec.salvage(ImageFileReader(io.BytesIO(bytes(damaged)), tables=codec.tables))
    assert report.missing
    lost = torch.zeros(75, dtype=torch.bool)
    for start, stop in report.missing:
        lost[start:stop] = True
    lost = lost.repeat_interleave(8)
    assert (found[:, lost] == 128).all()
    whole = codec.decompress(ImageFileReader(io.BytesIO(file.getvalue()), tables=codec.tables))
    around = torch.nn.functional.max_pool1d(lost.float().view(1, 1, -1), 2 * 8 * 6 + 1, 1, 8 * 6)[0, 0] > 0
    assert torch.equal(found[:, ~around], whole[:, ~around])


def test_promises_of_huge_images_are_not_believed(codec):
    _, data = written(codec, smooth(64, 64), Levels(1))
    reader = ImageFileReader(io.BytesIO(data), tables=codec.tables)
    with pytest.raises(FormatError, match="an image of 4096 pixels, more than max_pixels=4095"):
        codec.decompress(reader, max_pixels=4095)


def test_codecs_are_kept_in_folders(codec, tmp_path):
    image = smooth(48, 40)
    _, data = written(codec, image, Scale(4.0))
    codec.save_pretrained(tmp_path / "a")
    again = ImageCodec.open(tmp_path / "a")
    assert written(again, image, Scale(4.0))[1] == data
    assert ImageCodec.from_pretrained(tmp_path / "a").fingerprint == codec.fingerprint
    (tmp_path / "half").mkdir()
    write_image(tmp_path / "half", codec.model, codec.tables, half=True)
    half = ImageCodec.open(tmp_path / "half")
    assert half.fingerprint != codec.fingerprint
    with pytest.raises(ValueError, match="the file was written with model"):
        half.decompress(ImageFileReader(io.BytesIO(data), tables=codec.tables))
    with pytest.raises(ValueError, match="there is no model"):
        ImageCodec.open(tmp_path / "gone")
    ImageCodec(codec.model).save_pretrained(tmp_path / "half")
    assert ImageCodec.open(tmp_path / "half").tables is None
    (tmp_path / "a" / "tables.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged, restore the model"):
        ImageCodec.open(tmp_path / "a")


def test_fingerprints_follow_what_decodes(codec):
    before = fingerprint(codec.model)
    with torch.no_grad():
        codec.model.encoder.first.bias += 1
        assert fingerprint(codec.model) == before
        codec.model.encoder.first.bias -= 1
        codec.model.decoder.first.bias += 1
        assert fingerprint(codec.model) != before
        codec.model.decoder.first.bias -= 1


def test_colours_become_brightness_and_grey_is_repeated():
    grey = smooth(4, 5, 1)
    assert torch.equal(recoloured(grey, 3), grey.expand(3, -1, -1))
    assert torch.equal(recoloured(grey.expand(3, -1, -1), 1), grey)
    red = torch.zeros(3, 1, 1, dtype=torch.uint8)
    red[0] = 255
    assert int(recoloured(red, 1)) == 76


def test_headers_that_another_model_would_write_are_refused(codec):
    _, data = written(codec, smooth(64, 64), Levels(4))
    reader = ImageFileReader(io.BytesIO(data), tables=codec.tables)
    codes, header = reader.read_all(), reader.header
    for changed, match in (({"step": 16}, "step is 16"), ({"sizes": header.sizes[:2]}, "sizes is")):
        other = replace(header, tables=None, depth=None, **changed)
        file = io.BytesIO()
        with ImageFileWriter(file, other) as writer:
            writer.write(codes[: other.rows, : other.columns, : other.levels])
        file.seek(0)
        with pytest.raises(FormatError, match=f"{match}.*, where model"):
            codec.decompress(ImageFileReader(file))


def test_rows_beyond_the_image_are_not_salvaged(codec):
    _, data = written(codec, smooth(64, 64), Levels(4))
    reader = ImageFileReader(io.BytesIO(data), tables=codec.tables)
    codes, image = reader.read_all(), codec.decompress(reader)
    file = io.BytesIO()
    writer = ImageFileWriter(file, replace(reader.header, tables=None))
    writer.write(np.concatenate([codes, codes[:3]]))
    with pytest.raises(ValueError, match="the header promised 8 rows, 11 were written"):
        writer.close()
    file.seek(0)
    assert torch.equal(codec.salvage(ImageFileReader(file)).image, image)


def test_a_folder_of_another_kind_does_not_hide_a_model(codec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    codec.save_pretrained(tmp_path / "shipped" / "photos")
    monkeypatch.setattr("codeword.codecs.image.storage.SHIPPED", tmp_path / "shipped")
    (tmp_path / "photos").mkdir()
    assert ImageCodec.open(Path("photos")).fingerprint == fingerprint(codec.model)
