"""Colours of classes, the same in the window and in pictures."""

PALETTE = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#44aa99",
    "#ddcc77",
    "#cc6677",
    "#88ccee",
    "#999933",
    "#aa4499",
)
"""Told apart by colour-blind eyes and readable on grey: Okabe and Ito's without black, then the
lighter half of Paul Tol's "muted" scheme. With more classes, colours come again."""

OTHER_COLOUR = "#999999"
"""Grey, for what is no particle of interest."""
