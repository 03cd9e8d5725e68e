"""Weights: the record of each file that may be fetched, where the host keeps it, and how it comes there when asked for."""
