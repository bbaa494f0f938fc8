"""Waveforms to codes of variable depth, and back."""
