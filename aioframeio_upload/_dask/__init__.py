"""Upload one file from the workers of a Dask cluster."""
