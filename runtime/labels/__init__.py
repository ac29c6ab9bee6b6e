"""What labels of cells mean: names of the Cell Ontology, and maps from a data set's own labels."""
