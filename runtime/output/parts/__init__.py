"""An atlas as a folder of Parquet parts with a manifest."""
