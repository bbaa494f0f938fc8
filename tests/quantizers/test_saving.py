import torch

import codeword
from codeword.quantizers.storage import read_module, write_module


def trained():
    torch.manual_seed(0)
    learning = codeword.MovingAverage(0.8)
    quantizer = codeword.ResidualQuantizer([codeword.VectorQuantizer(4, 8, learning=learning) for _ in range(2)])
    quantizer.train()
    for _ in range(3):
        quantizer(torch.randn(500, 4))
        codeword.update(quantizer)
    return quantizer.eval()


def test_a_quantizer_saved_for_use_alone_is_the_same_and_can_learn_on(tmp_path):
    quantizer, x = trained(), torch.randn(200, 4)
    folders = [tmp_path / "all", tmp_path / "use"]
    for folder, statistics in zip(folders, (True, False), strict=True):
        folder.mkdir()
        write_module(folder, quantizer, "quantizer", statistics=statistics)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in folders]
    assert sizes[1] < sizes[0]
    again = read_module(folders[1], "quantizer")
    assert torch.equal(again.encode(x), quantizer.encode(x))
    book = again.stages[0].codebook
    assert book.is_seeded
    torch.testing.assert_close(book.average_sums, book.table, rtol=0, atol=0)
    assert book.average_counts.tolist() == [1.0] * 8
    again.train()
    again(x)
    codeword.update(again)
    assert not torch.equal(again.stages[0].codebook.table, quantizer.stages[0].codebook.table)


def test_statistics_that_were_saved_are_kept(tmp_path):
    quantizer = trained()
    write_module(tmp_path, quantizer, "quantizer")
    again = read_module(tmp_path, "quantizer").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in quantizer.state_dict().items())
