"""`c2t report`: one page about a file of descriptions, to be read offline and to be printed."""
