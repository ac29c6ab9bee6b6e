"""What label maps are proposed for data sets that name cell types otherwise."""
