"""Readers: picture files, IDX, Parquet and digits in, numpy uint8 out, decoded once; split, lint, fingerprint."""
