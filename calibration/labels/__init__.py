"""Labels that a data set names otherwise: a map to the names of the texts, proposed and read."""
