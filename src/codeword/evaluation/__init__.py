"""Evaluation: reports, tables and plots."""
