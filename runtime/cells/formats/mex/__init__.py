"""MatrixMarket matrices with files of names beside them, as 10x and other makers write them."""
