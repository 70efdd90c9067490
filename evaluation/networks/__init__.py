"""The published networks that metrics read features from, and where their weights come from."""
