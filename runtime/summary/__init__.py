"""What the descriptions of many cells say together: types, top genes, comparisons, and colours."""
