"""The parts of `benchmarks/paper_scale.py`. All but `export` and `home` run on a bare machine."""
