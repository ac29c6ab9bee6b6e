"""c2t inside an analysis of scverse: tools that fill an AnnData object, and plots of it."""
