#!/bin/sh
# Every public header compiles alone, as C99, C11 and C++11, with all warnings as errors.
# usage: headers.sh CC CXX|"" FOLDER
set -eu
cc=$1 cxx=$2 folder=$3
warn="-Wall -Wextra -Wshadow -Wundef -pedantic-errors -Werror -fsyntax-only -I$folder"
count=0
for header in "$folder"/dart.h "$folder"/dart/*.h; do
    name=${header#"$folder"/}
    for standard in c99 c11; do
        # shellcheck disable=SC2086
        printf '#include "%s"\n#include "%s"\nextern int used;\n' "$name" "$name" |
            "$cc" -std=$standard -Wstrict-prototypes $warn -x c -
        count=$((count + 1))
    done
    [ -n "$cxx" ] || continue
    # shellcheck disable=SC2086
    printf '#include "%s"\n#include "%s"\nextern int used;\n' "$name" "$name" | "$cxx" -std=c++11 $warn -x c++ -
    count=$((count + 1))
done
echo "$count compilations${cxx:+, C++ too}"
[ "$count" -ge 12 ]
# What a caller fills in has no padding at its end: a field of a later version would begin there, and an older caller never
# wrote it.
echo '#include "dart.h"' | "$cc" -std=c11 -Wpadded -fsyntax-only -I"$folder" -x c - 2>&1 |
    sed -n 's/^\([^:]*\):\([0-9]*\):.*padding struct size.*/\1 \2/p' |
    while read -r file line; do
        if sed -n "${line}p" "$file" | grep -E '_(options|hooks|tokens);'; then exit 1; fi
    done || { echo "the structure above has padding at its end: fill it with a reserved field"; exit 1; }
