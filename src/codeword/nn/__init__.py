"""Blocks of networks that several systems use."""
