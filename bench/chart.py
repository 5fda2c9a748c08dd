"""The chart of bench/run.py: one bar a case, peer's time / lcc's time, in an SVG written by hand."""
from xml.sax.saxutils import escape

ROW, LEFT, WIDTH, TOP = 16, 220, 560, 48
MOST = 4.0  # longer bars are cut and say their number
COLOURS = {"good": "#2a7f5f", "even": "#b8a13a", "bad": "#b5483a", "grey": "#9a9a9a"}


def colour(row):
    if not row["counts"] or not row["valid"]:
        return COLOURS["grey"]
    return COLOURS["good" if row["ratio"] >= 1.1 else "even" if row["ratio"] >= 0.9 else "bad"]


def svg_write(rows, title, path):
    """`rows`: those with a ratio, in order; a group's name stands above its first row."""
    lines, y, group = [], TOP, None
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            y += 8
            lines.append(f'<text x="8" y="{y + 11}" font-weight="bold">{escape(group)}</text>')
            y += ROW
        ratio = row["ratio"]
        long = min(ratio, MOST) / MOST * WIDTH
        name = row["case"] + (f", {row['threads']} threads" if row["threads"] > 1 else "")
        lines.append(f'<text x="{LEFT - 6}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect x="{LEFT}" y="{y + 2}" width="{long:.1f}" height="{ROW - 4}" fill="{colour(row)}"/>')
        lines.append(f'<text x="{LEFT + long + 4:.1f}" y="{y + 11}">{ratio:.2f} ({escape(row["best"])})</text>')
        y += ROW
    ticks = []
    for tick in range(int(MOST) + 1):
        x = LEFT + tick / MOST * WIDTH
        ticks.append(f'<line x1="{x}" x2="{x}" y1="{TOP - 6}" y2="{y + 4}" stroke="#{"444" if tick == 1 else "ddd"}"/>')
        ticks.append(f'<text x="{x}" y="{TOP - 10}" text-anchor="middle">{tick}</text>')
    with open(path, "w", encoding="utf-8") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 110}" height="{y + 12}" '
                'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n'
                f'<text x="8" y="16" font-size="13">{escape(title)}</text>\n')
        f.write("\n".join(ticks + lines) + "\n</svg>\n")
