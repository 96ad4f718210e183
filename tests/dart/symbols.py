"""What the libraries show to others.

usage: symbols.py NM HEADERS SHARED [STATIC]

The dynamic symbols of the shared library are exactly the functions that the headers declare with DART_API. With STATIC,
every global name of the static library begins with dart_.
"""
import pathlib
import re
import subprocess
import sys

if len(sys.argv) not in (4, 5):
    sys.exit(__doc__)
nm, headers, shared = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]


def names(*words):
    """Defined names of a library without the version after an @."""
    text = subprocess.run([nm, "-P", *words], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in text.splitlines() if line and not line.endswith(":")]
    return {row[0].split("@")[0] for row in rows if row[1] not in "A"}


declared = set()
for header in sorted(headers.glob("dart/*.h")):
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
    for declaration in re.findall(r"^DART_API\s[^;{]*;", text, flags=re.M):
        declared.add(re.search(r"(\w+)\s*\(", declaration).group(1))
    loose = [line for line in text.splitlines() if re.match(r"(?!DART_API|typedef|#|\s|\}|enum|extern|$)\w.*\(", line)]
    if loose:
        sys.exit(f"{header} declares functions without DART_API: {loose}")
exported = names("-D", "--defined-only", shared)
wrong = []
if len(declared) < 30:
    wrong.append(f"only {len(declared)} functions are declared in {headers}")
if exported - declared:
    wrong.append(f"exported, but in no header: {', '.join(sorted(exported - declared))}")
if declared - exported:
    wrong.append(f"declared, but not exported: {', '.join(sorted(declared - exported))}")
if len(sys.argv) == 5:
    loose = sorted(name for name in names("-g", "--defined-only", sys.argv[4]) if not name.startswith("dart_"))
    if loose:
        wrong.append(f"{len(loose)} global names of the static library without dart_: {', '.join(loose)}")
print(f"{len(exported)} functions exported, {len(declared)} declared")
sys.exit("\n".join(wrong) if wrong else 0)
