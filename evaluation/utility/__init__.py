"""Utility of synthetic images: how well segmenters trained on them segment real test scans (paper, Table V)."""
