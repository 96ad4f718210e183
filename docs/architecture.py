"""Draws docs/architecture.svg from cmake/rooms.cmake, cmake/vulkan.cmake and cmake/opencl.cmake.

usage: architecture.py           writes the picture
       architecture.py --check   exits 1 if the picture is not what would be written, or a room breaks the layout
An arrow means "may include"; arrows that follow from others are left out.
"""
import pathlib
import re
import sys
from xml.sax.saxutils import escape

root = pathlib.Path(__file__).resolve().parent.parent
picture = root / "docs" / "architecture.svg"
storeys = [
    ("tools", "the program", lambda f: f == "tools"),
    ("frontend/dart", "public headers", lambda f: f in ("frontend", "frontend/dart")),
    ("frontend/tasks", "what people do", lambda f: f.startswith("frontend/tasks/")),
    ("frontend/core", "what every task needs", lambda f: f.startswith("frontend/core/")),
    ("frontend/model", "what is computed", lambda f: f.startswith("frontend/model/")),
    ("frontend", "graph, planner, files", lambda f: f in ("frontend/ir", "frontend/data", "frontend/io", "frontend/tokenizer")),
    ("backend", "how it runs", lambda f: f.startswith("backend")),
    ("shaders", "kernels, once each", lambda f: f == "shaders"),
]


def read_rooms():
    text = "\n".join((root / "cmake" / f"{name}.cmake").read_text() for name in ("rooms", "vulkan", "opencl"))
    rooms = {}
    for body in re.findall(r"^\s*dart_room\(([^)]*)\)", text, re.M):
        words = body.split()
        may, kind = [], None
        for word in words[2:]:
            if word in ("MAY", "WITHIN", "LINK", "DEFINES"):
                kind = word
            elif kind in ("MAY", "WITHIN"):
                may.append(word)
        rooms[words[0]] = (words[1], may)
    # Everyone may include these: they are declarations and nothing else.
    rooms.pop("public", None)
    for name, (folder, may) in rooms.items():
        rooms[name] = (folder, [other for other in may if other != "public"])
    return rooms


def storey_of(folder):
    return next(i for i, (_, _, holds) in enumerate(storeys) if holds(folder))


def reach(rooms, name, seen=None):
    seen = set() if seen is None else seen
    for other in rooms[name][1]:
        if other not in seen:
            seen.add(other)
            reach(rooms, other, seen)
    return seen


def faults(rooms):
    """Arrows that run up, and folders that the build leaves without a room."""
    found = []
    for name, (folder, may) in rooms.items():
        for other in may:
            if storey_of(rooms[other][0]) < storey_of(folder):
                found.append(f"{name} may include {other}, which stands above it")
    known = {folder for folder, _ in rooms.values()} | {"frontend"}
    for source in root.glob("frontend/**/*.c"):
        folder = str(source.parent.relative_to(root))
        if folder not in known:
            found.append(f"{folder} has sources and is no room of cmake/rooms.cmake")
    return sorted(set(found))


def draw(rooms):
    folders = {name: folder for name, (folder, _) in rooms.items()}
    arrows = []
    for name, (_, may) in rooms.items():
        for other in may:
            if not any(other in reach(rooms, between) for between in may if between != other):
                arrows.append((name, other))
    # Within a storey a room stands above those that it may include.
    level = {}

    def level_of(name):
        if name not in level:
            below = [o for o in rooms[name][1] if storey_of(folders[o]) == storey_of(folders[name])]
            level[name] = 1 + max(map(level_of, below), default=-1)
        return level[name]

    width, box, gap, y, bands, place = 900, 30, 22, 14, [], {}
    shift = {}

    def centre(name):
        """Where a room stands in its row: over what it may include, so that arrows seldom cross."""
        if name not in shift:
            below = [centre(b) for a, b in arrows if a == name]
            shift[name] = sum(below) / len(below) if below else sorted(rooms).index(name) / len(rooms)
        return shift[name]

    for i, (title, says, _) in enumerate(storeys):
        mine = [name for name in rooms if storey_of(folders[name]) == i]
        if not mine:
            continue
        rows = max(map(level_of, mine)) + 1
        height = rows * box + (rows - 1) * gap + 20
        bands.append((title, says, y, height))
        for row in range(rows):
            line = sorted((name for name in mine if level_of(name) == rows - 1 - row), key=lambda n: (centre(n), n))
            room = (width - 190) / len(line)
            for k, name in enumerate(line):
                place[name] = (180 + room * (k + 0.5), y + 10 + row * (box + gap))
        y += height + 16
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" font-family="sans-serif" font-size="13">',
           '<style>.band{fill:#f2f2f0}.box{fill:#fff;stroke:#555}.arrow{fill:none;stroke:#777;stroke-opacity:.65}'
           'text{fill:#222}.small{fill:#666;font-size:11px}</style>',
           '<defs><marker id="tip" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
           '<path d="M0 0L6 3L0 6z" fill="#777"/></marker></defs>']
    for title, says, top, height in bands:
        out.append(f'<rect class="band" x="6" y="{top}" width="{width - 12}" height="{height}" rx="5"/>')
        out.append(f'<text x="16" y="{top + height / 2 - 2:g}" font-weight="bold">{escape(title)}</text>')
        out.append(f'<text class="small" x="16" y="{top + height / 2 + 13:g}">{escape(says)}</text>')
    for a, b in sorted(arrows):
        (x1, y1), (x2, y2) = place[a], place[b]
        y1 += box
        mid = (y1 + y2) / 2
        out.append(f'<path class="arrow" marker-end="url(#tip)" d="M{x1:.0f} {y1:.0f}C{x1:.0f} {mid:.0f} {x2:.0f} {mid:.0f} {x2:.0f} {y2:.0f}"/>')
    for name in sorted(place):
        x, top = place[name]
        half = 9 + 4 * len(name)
        out.append(f'<rect class="box" x="{x - half:.0f}" y="{top:.0f}" width="{2 * half}" height="{box}" rx="4"/>')
        out.append(f'<text x="{x:.0f}" y="{top + 19:.0f}" text-anchor="middle">{escape(name)}</text>')
    return "\n".join(out + ["</svg>", ""])


rooms = read_rooms()
wrong = faults(rooms)
text = draw(rooms)
if sys.argv[1:] == ["--check"]:
    if picture.read_text() != text:
        wrong.append("docs/architecture.svg is out of date: run docs/architecture.py")
elif sys.argv[1:]:
    sys.exit(__doc__)
else:
    picture.write_text(text)
print(f"{len(rooms)} rooms checked, {len(wrong)} faults")
sys.exit("\n".join(wrong) if wrong else 0)
