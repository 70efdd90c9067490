"""The report: figures gathered, tables, pictures and charts made, one self-contained page rendered."""
