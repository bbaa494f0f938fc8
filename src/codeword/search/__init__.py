"""Nearest neighbours: exact, in codes, in inverted lists, re-ranked; to FAISS and back."""

from codeword.search.coded import CodedIndex as CodedIndex
from codeword.search.faiss import from_faiss as from_faiss
from codeword.search.faiss import to_faiss as to_faiss
from codeword.search.flat import FlatIndex as FlatIndex
from codeword.search.inverted import InvertedIndex as InvertedIndex
from codeword.search.loading import load_index as load_index
from codeword.search.rerank import Reranked as Reranked
from codeword.search.shortlist import Neighbors as Neighbors
