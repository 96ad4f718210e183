# Reads CTest's LastTest.log: op cases by backend and device, data that were used, and the cases of cmocka programs
# (any other test counts as one case).
/^[0-9]+\/[0-9]+ Testing: / { name = $3; p = f = s = 0 }
/: [0-9]+ cases executed, [0-9]+ failed/ { ops[++op_count] = $0 " [" name "]" }
/^\[ contract \] / { ops[++op_count] = "graph programs, " $4 " " $5 " " $6 " " $7 " " $8 " " $9 " [" name "]" }
/^data: |^Penn Treebank / { sub(/^data: /, ""); if (!($0 in seen)) { seen[$0] = 1; data[++data_count] = $0 } }
/^\[  PASSED  \] [0-9]+ test/ { p = $4 }
/^\[  FAILED  \] [0-9]+ test/ { f = $4 }
/^\[  SKIPPED \] [0-9]+ test/ { s = $4 }
/^Test Passed\./ { count(p + s ? p : 1, 0, s) }
/^Test Failed\./ { count(p, f ? f : 1, s) }
/^Test (Skipped|Not Run)/ { count(0, 0, 1) }
/^Test Timeout/ { count(p, 1, s) }
function count(a, b, c) { passed += a; failed += b; skipped += c; p = f = s = 0 }
END {
    print "\nop cases against the double-precision oracle:"
    for (i = 1; i <= op_count; i++) print "  " ops[i] | "sort"
    close("sort")
    print "data:"
    for (i = 1; i <= data_count; i++) print "  " data[i]
    printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped
}
