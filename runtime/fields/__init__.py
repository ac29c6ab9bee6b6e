"""What a caption says, field by field: the bundle's rules, and the names of ontology terms."""
