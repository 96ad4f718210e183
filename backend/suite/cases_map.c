/* Cases of map: every row of map_ops.def, every way to find b, in place and not. */
#include "cases.h"
#include <math.h>
#include <string.h>

typedef struct row {
    const char *name;
    int arity;
} row;

static const row rows[] = {
#define MAP(name, arity, ...) {#name, arity},
#include "map_ops.def"
#undef MAP
};

enum { ROWS = sizeof rows / sizeof *rows };

/* Which arguments an expression is defined for. */
static void keep_defined(const char *name, float *a, uint64_t na, float *b, uint64_t nb)
{
    if (strcmp(name, "sqrt") == 0)
        for (uint64_t i = 0; i < na; i++) a[i] = fabsf(a[i]);
    if (strcmp(name, "log") == 0) /* not around 1, where nothing is left of a rounded argument */
        for (uint64_t i = 0; i < na; i++) a[i] = 1.5f + fabsf(a[i]);
    if (strcmp(name, "logit") == 0)
        for (uint64_t i = 0; i < na; i++) a[i] = 0.02f + 0.4f * fabsf(a[i]) / (1 + fabsf(a[i]));
    if (strcmp(name, "div") == 0)
        for (uint64_t i = 0; i < nb; i++) b[i] += b[i] < 0 ? -0.5f : 0.5f;
}

static double tolerance_of(const char *name)
{
    bool exact = strcmp(name, "copy") == 0 || strcmp(name, "fill") == 0 ||
                 strcmp(name, "step") == 0 || strcmp(name, "straight") == 0;
    return exact ? SUITE_EXACT : SUITE_ELEMENT;
}

/* In place: 0 no, 1 y is a, 2 y is b. */
static void one(suite *s, uint32_t op, uint32_t kind, uint32_t n, uint32_t bdiv, uint32_t bmod,
    uint32_t place, double deviation)
{
    static const char *const places[] = {"", ", y = a", ", y = b"};
    const row *r = &rows[op];
    map_params p = {.n = n, .bdiv = bdiv, .bmod = bmod, .s = 0.75f, .t = -1.25f};
    dart_suite_case(s, DART_K_map, &p, tolerance_of(r->name), "%s n %u b (i/%u)%%%u%s x%g", r->name,
        n, bdiv, bmod, places[place], deviation);
    dart_suite_mode(s, "OP", op);
    dart_suite_mode(s, "BC", kind);
    float *a = dart_suite_normal(s, n, 0, deviation), *b = a;
    uint64_t nb = n;
    if (r->arity == 2) {
        if (kind) nb = bmod;
        b = dart_suite_normal(s, nb, 0.1, 1);
    } else {
        dart_suite_same(s, 0);
    }
    keep_defined(r->name, a, n, b, nb);
    if (place)
        dart_suite_same(s, place - 1);
    else
        dart_suite_output(s, n);
    dart_suite_done(s);
}

/* Operands (bits 0 and 1 of `which`) and result (bit 2) of 16 bits, of even n; cols: b is a row of
 * so many. */
static void one_of_halves(
    suite *s, uint32_t op, uint32_t n, uint32_t cols, uint32_t which, uint32_t kind)
{
    const bool two = rows[op].arity == 2;
    const map_params p = {.n = n, .bdiv = 1, .bmod = cols ? cols : n, .s = 0.75f, .t = -1.25f};
    const uint32_t a = which & 1 ? kind : 0, b = two ? (which & 2 ? kind : 0) : a;
    const uint32_t y = which & 4 ? kind : 0;
    dart_suite_case(s, DART_K_map, &p, y ? SUITE_HALVES(kind) : SUITE_ELEMENT,
        "%s n %u b i%%%u, %s%s%s in %s", rows[op].name, n, p.bmod, a ? "a" : "", b ? "b" : "",
        y ? "y" : "", kind == 1 ? "f16" : "bf16");
    dart_suite_mode(s, "OP", op);
    dart_suite_mode(s, "BC", cols != 0);
    dart_suite_mode(s, "AH", a);
    dart_suite_mode(s, "BH", b);
    dart_suite_mode(s, "YH", y);
    if (a)
        dart_suite_halves(s, n, a);
    else
        dart_suite_normal(s, n, 0, 1);
    if (!two)
        dart_suite_same(s, 0);
    else if (b)
        dart_suite_halves(s, cols ? cols : n, b);
    else
        dart_suite_normal(s, cols ? cols : n, 0.1, 1);
    if (y && y == a && n % 3 == 1) /* in place */
        dart_suite_same(s, 0);
    else if (y)
        dart_suite_halves_output(s, n, y);
    else
        dart_suite_output(s, n);
    dart_suite_done(s);
}

/* Those of which activations are made; the others read and write in the same way. */
static void numbers_of_halves(suite *s)
{
    static const char *const names[] = {
        "mul", "gelu", "add", "gelu_back", "swiglu", "silu_back", "relu", "affine"};
    static const uint32_t sizes[] = {2, 4, 34, 258, 1000, 4100, 70002};
    for (uint32_t op = 0; op < ROWS; op++) {
        uint32_t k = 0;
        while (k < sizeof names / sizeof *names && strcmp(names[k], rows[op].name) != 0) k++;
        if (k == sizeof names / sizeof *names) continue;
        for (uint32_t i = 0; i < 7 * 7; i++) { /* all subsets of the first two, one of the others */
            const uint32_t which = 1 + (k < 2 ? i : 2 * k) % 7;
            if (k > 1 && i % 7) continue;
            one_of_halves(s, op, sizes[i / 7], 0, which, 1 + (which + k) % 2);
        }
        for (uint32_t i = 0; k == 0 && i < 7; i++) {
            one_of_halves(s, op, 66 * 34, 34, 1 + i, 1 + i % 2);
            one_of_halves(s, op, 64 * 5, 64, 1 + i, 1 + i % 2);
        }
    }
}

void dart_suite_cases_map(suite *s)
{
    static const uint32_t sizes[] = {1, 3, 31, 33, 257, 1000, 4099};
    static const uint32_t shapes[][2] = {{1, 1}, {3, 31}, {31, 3}, {33, 257}, {257, 33}, {5, 64}};
    for (uint32_t op = 0; op < ROWS; op++) {
        uint32_t arity = (uint32_t)rows[op].arity;
        for (uint32_t i = 0; i < 7; i++)
            for (uint32_t place = 0; place <= arity; place++)
                one(s, op, 0, sizes[i], 1, sizes[i], place, 1);
        one(s, op, 0, 1000, 1, 1000, 0, 12);
        one(s, op, 0, 100003, 1, 100003, 0, 1);
        if (arity == 1) continue;
        for (uint32_t i = 0; i < 6; i++) {
            uint32_t n = shapes[i][0] * shapes[i][1];
            for (uint32_t place = 0; place < 2; place++) {
                one(s, op, 1, n, 1, shapes[i][1], place, 1);                /* a row added to all */
                one(s, op, 2, n, shapes[i][1], shapes[i][0], place, 1);     /* a column */
                one(s, op, 2, n * 4, shapes[i][1], shapes[i][0], place, 1); /* a middle axis */
            }
        }
        one(s, op, 2, 77, 77, 1, 0, 1); /* one scalar */
    }
    numbers_of_halves(s);
}
