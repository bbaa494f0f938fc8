"""Vectors to files: a quantizer, its entropy tables, and the ``.cw`` container."""

from codeword.codecs.vectors.codec import VectorCodec as VectorCodec
from codeword.codecs.vectors.counter import CodeCounter as CodeCounter
