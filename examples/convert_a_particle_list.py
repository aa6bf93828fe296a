"""A RELION 5 list from a plain table, and back."""

import tempfile
from pathlib import Path

import numpy as np

from napari_cryoshift.core.formats import ListContext, read_particles, write_particles

# What a table does not say: the size of a voxel, of the tomogram (z, y, x), and its name.
context = ListContext(voxel_size=10.0, shape=(200, 400, 400), tomogram="TS_01", binning=4)

with tempfile.TemporaryDirectory() as folder:
    table, star = Path(folder) / "picks.csv", Path(folder) / "picks.star"
    table.write_text("x,y,z,class\n10,20,30,ribosome\n40,50,60,proteasome\n")

    particles = read_particles(table, context=context)
    print(*write_particles(star, particles, "relion5", context=context), sep="\n")

    again = read_particles(star, context=context)
    print("largest difference in voxels:", np.abs(again.positions - particles.positions).max())
    print("classes:", *again.predicted)
