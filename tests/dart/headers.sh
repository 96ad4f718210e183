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
