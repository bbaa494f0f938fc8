"""Integer frequency tables and the range coder; integers only."""
