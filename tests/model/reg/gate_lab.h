/* What the tests of gates share: the f64 device and a gate by its name. */
#ifndef DART_TEST_GATE_LAB_H
#define DART_TEST_GATE_LAB_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include "gates.h"
#include "ir_run.h"
#include "reg.h"
#include "rng.h"

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != DART_OK) fail_msg("%s: %s", #expr, dart_error_text());                       \
    } while (0)

static dart_device *oracle;

static inline int open_oracle(void **state)
{
    (void)state;
    return dart_device_open("cpu64", NULL, &oracle) != DART_OK;
}

static inline int close_oracle(void **state)
{
    (void)state;
    dart_device_close(oracle);
    return 0;
}

static inline const dart_gate *gate_named(const char *name)
{
    const dart_reg *reg = dart_reg_find(name);
    assert_non_null(reg);
    assert_non_null(reg->gate);
    assert_null(reg->penalty);
    return reg->gate;
}

#endif
