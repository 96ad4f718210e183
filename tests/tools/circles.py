#!/usr/bin/env python3
"""Finds source files of frontend/, backend/ and tools/ that call each other in a circle.

usage: circles.py BUILD_DIR [FOLDER...]
       circles.py --check CC

Reads with nm the objects of the rooms that BUILD_DIR/compile_commands.json names: a file depends on another one whose
function or table it names. Prints every circle with the names that close it and exits with 1; exits with 2 where there
is nothing to read. With folders, only circles that go through a file of one of them count. --check tries it on small files that
the compiler CC makes.
"""
import json
import os
import subprocess
import sys
import tempfile


def objects(build):
    """(target, source, path of the object) of all rooms that compile_commands.json names."""
    path = os.path.join(build, "compile_commands.json")
    if not os.path.exists(path):
        return
    with open(path) as file:
        for entry in json.load(file):
            words = entry["command"].split()
            output = words[words.index("-o") + 1]
            parts = output.split(os.sep)
            if len(parts) > 3 and parts[0] == "CMakeFiles" and parts[2] in ("frontend", "backend", "tools"):
                yield parts[1], os.path.join(*parts[2:])[:-2], os.path.join(entry["directory"], output)


def symbols(paths):
    """{path: (names that the object defines for others, names that it needs)}."""
    found = {path: (set(), set()) for path in paths}
    out = subprocess.run(["nm", "-P", "-g", "-A", *paths], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        path, rest = line.split(": ", 1)
        name, kind = rest.split()[:2]
        found[path][kind in "Uwv"].add(name)
    return found


def edges(build):
    """{file: {file it depends on: a name that it uses}}; a file is (target, source)."""
    made, needs = {}, {}
    files = {path: (target, source) for target, source, path in objects(build)}
    if not files:
        return {}
    for path, (defined, needed) in symbols(files).items():
        needs[files[path]] = needed
        for name in defined:
            made.setdefault(name, []).append(files[path])
    graph = {}
    for node, names in needs.items():
        graph[node] = {}
        for name in sorted(names):
            for to in made.get(name, []):
                # a room that is built twice uses its own copy
                if to != node and (to[0] == node[0] or all(t[0] != node[0] for t in made[name])):
                    graph[node].setdefault(to, name)
    return graph


def groups(graph):
    """Strongly connected components of more than one file (Tarjan 1972), without recursion."""
    number, low, on_stack, stack, found = {}, {}, set(), [], []
    for root in graph:
        if root in number:
            continue
        work = [(root, iter(graph[root]))]
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            step = next((n for n in rest if n not in number or n in on_stack), None)
            if step is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    group = set()
                    while node not in group:
                        group.add(stack.pop())
                    on_stack -= group
                    if len(group) > 1:
                        found.append(group)
            elif step not in number:
                number[step] = low[step] = len(number)
                stack.append(step)
                on_stack.add(step)
                work.append((step, iter(graph[step])))
            else:
                low[node] = min(low[node], number[step])
    return found


def shortest(graph, group):
    """A shortest circle of a group, as files in order."""
    best = None
    for start in sorted(group):
        before, queue = {start: None}, [start]
        for node in queue:
            if start in graph[node]:
                path = [node]
                while before[path[-1]]:
                    path.append(before[path[-1]])
                if best is None or len(path) < len(best):
                    best = path[::-1]
                break
            for to in sorted(graph[node]):
                if to in group and to not in before:
                    before[to] = node
                    queue.append(to)
    return best


def circles(graph):
    """Circles until none is left: each is named, then cut at its last step."""
    graph = {node: dict(to) for node, to in graph.items()}
    while True:
        found = groups(graph)
        if not found:
            return
        for group in found:
            path = shortest(graph, group)
            steps = [(a, b, graph[a][b]) for a, b in zip(path, path[1:] + path[:1])]
            yield steps
            del graph[steps[-1][0]][steps[-1][1]]


def check(cc):
    """A chain is no circle; a function used backwards makes it one, a name that is another room's own copy does not."""
    files = {"one.dir/frontend/a.c": "void b(void); void a(void) {b();}",
             "one.dir/frontend/b.c": "extern int c; int b_of(void); void b(void) {c++;} int b_of(void) {return 1;}",
             "one.dir/backend/c.c": "int c;",
             "two.dir/backend/c.c": "int b(void); int c; int d(void) {return b();}",
             "two.dir/frontend/b.c": "int b(void) {return 2;}"}
    with tempfile.TemporaryDirectory() as build:
        def compile_all():
            for name, text in files.items():
                path = os.path.join(build, "CMakeFiles", name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w") as out:
                    out.write(text)
                subprocess.run([cc, "-c", path, "-o", path + ".o"], check=True)
            with open(os.path.join(build, "compile_commands.json"), "w") as out:
                json.dump([{"directory": build, "command": f"cc -o CMakeFiles/{name}.o"} for name in files], out)
            return list(circles(edges(build)))
        assert compile_all() == []
        files["one.dir/backend/c.c"] = "int b_of(void); int c; int d_of(void) {return b_of();}"
        found = compile_all()
        assert [[(a[1], b[1], name) for a, b, name in steps] for steps in found] == [
            [("backend/c.c", "frontend/b.c", "b_of"), ("frontend/b.c", "backend/c.c", "c")]], found
    print("a planted circle is found, and nothing else")
    return 0


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.split("\n\n")[1])
    if sys.argv[1] == "--check":
        return check(sys.argv[2] if len(sys.argv) > 2 else "cc")
    graph = edges(sys.argv[1])
    if not graph:
        print("no objects of rooms in", sys.argv[1])
        return 2
    folders = [f.rstrip("/") for f in sys.argv[2:]]
    count = 0
    for steps in circles(graph):
        if folders and not any(os.path.dirname(a[1]) in folders for a, _, _ in steps):
            continue
        count += 1
        print("circle:")
        for a, b, name in steps:
            print(f"  {a[1]} uses {name} of {b[1]}")
    if not count:
        print("no circle", "through " + " ".join(folders) if folders else f"among {len(graph)} files")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
