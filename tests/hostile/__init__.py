"""One bad neighbour: floods, file systems that are slow or hang, and inputs found by coverage."""
