"""An autoencoder of handwritten digits with a residual bottleneck: 8 bits for 64 pixels, then 16."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import codeword

torch.manual_seed(0)
digits = torch.from_numpy(load_digits().data).float() / 16
train, test = digits[:1500], digits[1500:]

encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 8))
decoder = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 64))
quantizer = codeword.ResidualQuantizer(
    [codeword.VectorQuantizer(8, 256) for _ in range(2)], dropout=codeword.DepthDropout(0.5)
)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
for _ in range(600):
    batch = train[torch.randint(len(train), (128,))]
    out = quantizer(encoder(batch))
    loss = (decoder(out.vectors) - batch).square().mean() + out.loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    codeword.update(quantizer, optimizer)

quantizer.eval()
with torch.no_grad():
    for depth in (1, 2):
        codes = quantizer.encode(encoder(test), depth=depth)
        error = (decoder(quantizer.decode(codes)) - test).square().mean() / test.var()
        print(f"{8 * depth} bits a digit: {error:.3f} of the variance lost")
