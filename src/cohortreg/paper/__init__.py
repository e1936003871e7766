"""The experiments of the paper: its data sets, Table 1, Figures 2 to 6."""
