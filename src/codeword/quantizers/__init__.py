"""Quantizers: nn.Modules between vectors and codes."""
