"""How strongly things scatter electrons beyond the ice that they displace, in Å/Å³.

What a microscope sees is the difference from ice, so that is what a specimen is made of. Forward
scattering of neutral atoms, hydrogens included: ice of 0.92 g/cm³ 0.094, protein of 1.21 Å³/Da
0.168; methylene 0.13, but tails with their loosely packed ends about 0.11; the head group of a
phospholipid in its water 0.45 Å/Å² more than ice.
"""

from napari_cryoshift.core.structures.density import SCATTERING_PER_DALTON

ICE = 0.094

PROTEIN_VOLUME = 1.21
"""Å³/Da (Harpaz, Gerstein & Chothia 1994)."""

PROTEIN = 0.168 - ICE

PROTEIN_IN_LIBRARY = SCATTERING_PER_DALTON / PROTEIN_VOLUME
"""What the library gives the inside of a protein: no hydrogens, in a vacuum."""

LIPID_TAILS = 0.112 - ICE

LIPID_HEADS = 0.03
"""On top of the tails, at the two peaks of a bilayer."""

GOLD_IN_VACUUM = 0.62
"""0.059 atoms/Å³ of forward scattering 10.6 Å; on the scale of the library, which has no ice."""

GOLD = GOLD_IN_VACUUM - ICE
