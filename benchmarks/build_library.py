"""Make the bundled library from a folder of structure files, and report near-duplicates.

    python benchmarks/build_library.py FOLDER

FOLDER holds the wwPDB entries (CC0) named in the table below, as ID*.pdb.gz or ID*.cif.gz.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import NamedTuple

from napari_cryoshift.core.structures import Library, read_atoms, similarity
from napari_cryoshift.core.structures.atoms import Assembly
from napari_cryoshift.core.structures.library import (
    BUNDLED,
    LIBRARY_VOXEL_SIZE,
    LibraryEntry,
    save_entry,
)

NEAR_DUPLICATE = 0.9


class Row(NamedTuple):
    """One wwPDB entry of the library."""

    id: str
    name: str
    family: str
    assembly: Assembly = "auto"


TABLE = (
    Row("4v6x", "80S ribosome (human)", "ribosome"),
    Row("6zu5", "80S ribosome (microsporidian)", "ribosome"),
    Row("4v5d", "70S ribosome (Thermus thermophilus)", "ribosome"),
    Row("1ffk", "50S ribosomal subunit (Haloarcula marismortui)", "ribosome"),
    Row("5uz4", "30S ribosomal subunit with YjeQ (E. coli)", "ribosome"),
    Row("3jb9", "spliceosome (fission yeast)", "spliceosome"),
    Row("1wcm", "RNA polymerase II (yeast)", "RNA polymerase"),
    Row("3j9i", "20S proteasome (Thermoplasma acidophilum)", "20S proteasome"),
    Row("1mnf", "GroEL (double ring)", "chaperonin", "asymmetric unit"),
    Row("1oel", "GroEL (single ring)", "chaperonin", "asymmetric unit"),
    Row("4v8r", "TRiC/CCT chaperonin (yeast)", "chaperonin"),
    Row("1qvr", "ClpB (Thermus thermophilus)", "ClpB"),
    Row("3cf3", "p97/VCP (mouse)", "p97"),
    Row("2fha", "ferritin (human)", "ferritin"),
    Row("1auy", "turnip yellow mosaic virus", "icosahedral virus"),
    Row("1f2n", "rice yellow mottle virus", "icosahedral virus"),
    Row("1ihm", "Norwalk virus capsid", "icosahedral virus"),
    Row("1rb8", "bacteriophage phiX174", "icosahedral virus"),
    Row("4yvs", "enterovirus 71 virus-like particle", "icosahedral virus"),
    Row("1bxn", "RuBisCO (Cupriavidus necator)", "RuBisCO"),
    Row("1e6v", "methyl-coenzyme M reductase", "methyl-coenzyme M reductase"),
    Row("1gyt", "aminopeptidase A (E. coli)", "leucyl aminopeptidase"),
    Row("1onx", "isoaspartyl dipeptidase (E. coli)", "isoaspartyl dipeptidase"),
    Row("1ncb", "neuraminidase with antibody fragments (influenza)", "neuraminidase"),
    Row("4zxb", "insulin receptor ectodomain (human)", "insulin receptor"),
    Row("4jsv", "mTOR–mLST8 (human)", "mTOR"),
    Row("1u6g", "CAND1–CUL1–ROC1 (human)", "cullin"),
    Row("2cg9", "Hsp90–Sba1 (yeast)", "Hsp90"),
    Row("3d2f", "Sse1–Hsp70", "Hsp70"),
    Row("1s3x", "Hsp70 ATPase domain (human)", "Hsp70"),
    Row("3gl1", "Ssb1 ATPase domain (yeast)", "Hsp70"),
    Row("1igt", "antibody IgG2a (mouse)", "antibody"),
    Row("1igy", "antibody IgG1 (mouse)", "antibody"),
    Row("1ek9", "TolC (E. coli)", "TolC"),
    Row("7qpd", "MHC I peptide-loading complex, editing module (human)", "MHC I"),
    Row("3sn6", "β2-adrenergic receptor with Gs (complex)", "G-protein-coupled receptor"),
    Row("3wip", "acetylcholine-binding protein (Lymnaea)", "acetylcholine-binding protein"),
    Row("3sfd", "respiratory complex II (pig)", "respiratory complex II"),
    Row("3h84", "Get3 (yeast)", "Get3"),
    Row("1vln", "concanavalin A", "concanavalin A"),
    Row("3dl7", "acetylcholinesterase (mouse)", "α/β hydrolase"),
    Row("3qm1", "cinnamoyl esterase (Lactobacillus johnsonii)", "α/β hydrolase"),
    Row("3bep", "DNA polymerase III sliding clamp on DNA (E. coli)", "sliding clamp"),
    Row("1fdo", "formate dehydrogenase H (E. coli)", "formate dehydrogenase"),
    Row("4nre", "15-lipoxygenase-2 (human)", "lipoxygenase"),
    Row("4f5s", "serum albumin (cow)", "serum albumin"),
    Row("4hhb", "haemoglobin (human)", "haemoglobin"),
)


def build(folder: Path) -> None:
    """Compute every density of the table and print what it is."""
    print(f"{'id':6}{'kDa':>7}{'Å':>6}{'box':>5}  name")
    for row in TABLE:
        path = next(folder.glob(f"{row.id}*.gz"))
        density = read_atoms(path, LIBRARY_VOXEL_SIZE, assembly=row.assembly)
        entry = LibraryEntry(
            id=row.id,
            name=row.name,
            family=row.family,
            mass_kda=round(density.mass_kda, 1),
            diameter=round(density.diameter, 1),
            source=f"wwPDB {row.id}",
            licence="CC0-1.0",
            assembly=(
                "biological assembly 1 where the file has one"
                if row.assembly == "auto"
                else row.assembly
            ),
        )
        save_entry(BUNDLED, entry, density)
        print(
            f"{row.id:6}{entry.mass_kda:7.0f}{entry.diameter:6.0f}{len(density.values):5}  "
            f"{row.name}",
            flush=True,
        )
    size = sum(file.stat().st_size for file in BUNDLED.iterdir())
    print(f"{len(TABLE)} structures, {size / 1e6:.2f} MB")


def report_near_duplicates() -> None:
    """Print the pairs of similar size that correlate, and say which are not of one family."""
    structures = list(Library(BUNDLED).values())
    for a, b in itertools.combinations(structures, 2):
        if max(a.diameter, b.diameter) > 1.5 * min(a.diameter, b.diameter):
            continue
        score = similarity(a, b, rotations=200, voxel_size=12)
        if score > NEAR_DUPLICATE:
            note = "" if a.family == b.family else "  (other family)"
            print(f"{a.id} {b.id} {score:.2f}  {a.name} / {b.name}{note}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of structure files")
    build(parser.parse_args().folder)
    report_near_duplicates()
