"""AnnData in zarr stores (formats 2 and 3): metadata, codecs, arrays and tables."""
