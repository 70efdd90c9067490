"""Sweeps: which parameters of a network are tried (space), what a study is on disk, how it is run with Ray Tune and Optuna, and
what of it is in MLflow."""
