"""Data: vectors and audio in files, synthetic sets, and two small real ones."""
