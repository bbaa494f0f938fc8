"""Data: vectors in files, synthetic sets, and two small real ones."""
