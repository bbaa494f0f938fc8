"""Codecs: media to bytes and back."""
