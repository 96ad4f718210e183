# Reads CTest's LastTest.log: counts the cases of cmocka programs, and other tests as one case each.
/^[0-9]+\/[0-9]+ Testing: / { p = f = s = 0 }
/^\[  PASSED  \] [0-9]+ test/ { p = $4 }
/^\[  FAILED  \] [0-9]+ test/ { f = $4 }
/^\[  SKIPPED \] [0-9]+ test/ { s = $4 }
/^Test Passed\./ { if (p + s == 0) p = 1; add(p, 0, s) }
/^Test Failed\./ { if (f == 0) f = 1; add(p, f, s) }
/^Test Skipped\./ { add(0, 0, 1) }
function add(a, b, c) { passed += a; failed += b; skipped += c }
END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }
