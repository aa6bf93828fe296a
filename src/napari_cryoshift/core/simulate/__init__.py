"""From a structure to simulated subtomograms and tomograms."""
