"""The page that `cryoshift demo` leaves: what was done, how well, and pictures of it."""

from __future__ import annotations

from html import escape
from string import Template

from napari_cryoshift.core.demo import (
    CANDIDATES,
    DIAMETER,
    LABELLED,
    LABELLED_OTHER,
    RADIUS,
    DemoResult,
)

_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>CryoShift on the sample tomogram</title>
<style>
body { font: 16px/1.5 sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; }
td, th { padding: 0.1rem 1.2rem 0.1rem 0; text-align: right; }
td:first-child, th:first-child { text-align: left; }
pre { background: #f2f2f2; padding: 0.8rem; overflow-x: auto; }
</style>
<h1>CryoShift on the sample tomogram</h1>
<p>A simulated tomogram of $shape voxels of $voxel_size Å (x, y, z) holds $particles particles of
$classes kinds, among vesicles and gold beads. The best $candidates candidates of a difference of
Gaussians for a diameter of $diameter Å were taken. Of these, $labelled of each kind, and
$labelled_other that are further than $far Å from any particle, were labelled at random (seed
$seed) from the truth, as a person would by clicking. All others were classified from these few by
an embedding that has never seen this tomogram. A candidate counts as a particle if its centre is
within $radius Å; what was labelled is left out of the figures on classes.</p>
<pre>$summary</pre>
<table>
<tr><th>kind</th><th>precision</th><th>recall</th><th>F1</th><th>average precision</th></tr>
$rows
</table>
<h2>Section</h2>
<p>Circles are candidates near this section, coloured by the predicted kind, dashed where it is
wrong.</p>
<img src="section.png" alt="section with circles around classified particles">
<h2>Gallery</h2>
<p>The surest candidates of each predicted kind, as the embedding sees them, protein bright.</p>
<img src="gallery.png" alt="rows of particles, one a kind">
<h2>Embedding</h2>
<p>Particles that look alike lie close. Colours are the true kinds, rings are the labelled ones.</p>
<img src="embedding.png" alt="map of the embedding">
<h2>Precision and recall</h2>
<p>The best precision at each recall or beyond. Kinds are ranked by their probability.</p>
<img src="precision_recall.png" alt="precision against recall">
<h2>The same by hand</h2>
<pre>$commands</pre>
</html>
""")


def page(result: DemoResult, seed: int) -> str:
    """Return the report as HTML; its pictures lie beside it."""
    z, y, x = result.tomogram.shape
    return _PAGE.substitute(
        shape=f"{x} × {y} × {z}",
        voxel_size=f"{result.tomogram.voxel_size:g}",
        particles=len(result.truth),
        classes=len(result.classes.f1),
        candidates=CANDIDATES,
        diameter=f"{DIAMETER:g}",
        labelled=LABELLED,
        labelled_other=LABELLED_OTHER,
        far=f"{2 * RADIUS:g}",
        seed=seed,
        radius=f"{RADIUS:g}",
        summary=escape(result.summary()),
        rows="\n".join(_row(result, name) for name in result.classes.f1),
        commands=escape(_commands(result)),
    )


def _row(result: DemoResult, name: str) -> str:
    classes = result.classes
    figures = (
        classes.precision[name],
        classes.recall[name],
        classes.f1[name],
        result.curve(name).average,
    )
    cells = "".join(f"<td>{figure:.2f}</td>" for figure in figures)
    return f"<tr><td>{escape(name)}</td>{cells}</tr>"


def _commands(result: DemoResult) -> str:
    sample = result.tomogram.path
    return "\n".join(
        [
            f"cryoshift pick {sample} --diameter {DIAMETER:g} --max-count {CANDIDATES} "
            "--out picks.csv",
            f"cryoshift classify {sample} picks.csv --support support.csv --out classified.csv",
            f"cryoshift evaluate classified.csv truth.csv --radius {RADIUS:g} --tomogram {sample}",
            f"cryoshift export classified.csv --to relion5 --tomogram {sample} --out relion5",
        ]
    )
