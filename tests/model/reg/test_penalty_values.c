/* Values of penalties: the singular values of the dense unfoldings, gauge changes, scales, and what
 * bounds what. */
#include "penalty_lab.h"

static void values_match_the_definition(void **state)
{
    (void)state;
    double got[8];
    int checked = 0;
    for (uint32_t i = 0; dart_reg_at(i); i++)
        assert_ptr_equal(dart_reg_find(dart_reg_at(i)->name), dart_reg_at(i));
    for (uint32_t index = 0; reg_at(index); index++)
        for (uint32_t v = 0; v < VARIANTS; v++) {
            lab l;
            lab_open(&l);
            const dart_reg *reg = reg_at(index);
            penalty_options o = variant_of(reg, v);
            assert_int_equal(values(&l, reg, &o, got), 4);
            uint32_t i = 0;
            for (uint32_t s = 0; s < l.stacks; s++)
                for (uint32_t z = 0; z < l.stack[s].count; z++, i++, checked++)
                    expect_near(got[i], oracle(&l, reg, &o, s, z, NULL), 1e-7);
            lab_close(&l);
        }
    assert_true(checked >= 6 * 3 * 4);
}

/* Core k times S on the right, S^-1 times core k + 1, with S = 3 (I + 0.7 e_1 e_0^T), or only its
 * diagonal. */
static void turn_gauge(lab *l, bool shear)
{
    for (uint32_t s = 0; s < l->stacks; s++)
        for (uint32_t z = 0; z < l->stack[s].count; z++) {
            double *a = core_of(l, s, z, 0), *b = core_of(l, s, z, 1);
            uint32_t r = l->rank[s][1], inner = l->n[s][1] * l->rank[s][2];
            for (uint32_t i = 0; i < l->n[s][0]; i++) {
                if (shear) a[i * r] += 0.7 * a[i * r + 1];
                for (uint32_t j = 0; j < r; j++) a[i * r + j] *= 3 + j;
            }
            for (uint32_t i = 0; i < inner; i++) {
                if (shear) b[inner + i] -= 0.7 * b[i];
                for (uint32_t j = 0; j < r; j++) b[j * inner + i] /= 3 + j;
            }
        }
}

/* What does not change when the tensor does not: 0 anything may, 1 scales of the columns, 2 any
 * gauge. */
static int gauge_free(const dart_reg *reg)
{
    static const char *const full[] = {"bond-nuclear", "log-det", "schatten-p", "svt-nuclear"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(reg->name, full[i])) return 2;
    return !strcmp(reg->name, "column-norm");
}

static void gauge(void **state)
{
    (void)state;
    double before[8], after[8];
    int invariant = 0, dependent = 0;
    for (uint32_t index = 0; reg_at(index); index++)
        for (int shear = 0; shear < 2; shear++) {
            const dart_reg *reg = reg_at(index);
            penalty_options o = variant_of(reg, 1);
            lab l, other;
            lab_open(&l);
            lab_open(&other);
            turn_gauge(&other, shear);
            uint32_t count = values(&l, reg, &o, before);
            values(&other, reg, &o, after);
            bool same = gauge_free(reg) > shear;
            for (uint32_t i = 0; i < count; i++) {
                if (same)
                    expect_near(after[i], before[i], 1e-7);
                else
                    assert_true(fabs(after[i] / before[i] - 1) > 1e-3);
            }
            invariant += same;
            dependent += !same;
            lab_close(&l);
            lab_close(&other);
        }
    assert_true(invariant >= 7 && dependent >= 5);
}

/* c W: degree 1, except p for schatten-p, 0 for log-det, and for what adds up cores (core-nuclear)
 * or sides (group-lasso) the mean of the terms' degrees: checked for all cores scaled alike. */
static void scale(void **state)
{
    (void)state;
    double before[8], after[8];
    for (uint32_t index = 0; reg_at(index); index++) {
        const dart_reg *reg = reg_at(index);
        penalty_options o = variant_of(reg, 1);
        lab l;
        lab_open(&l);
        uint32_t count = values(&l, reg, &o, before), i = 0;
        lab_close(&l);
        lab_open(&l);
        const double c = 1.3;
        for (uint64_t e = 0; e < l.data.words[DART_REGION_PARAM]; e++)
            l.data.region[DART_REGION_PARAM][e] *= c;
        assert_int_equal(values(&l, reg, &o, after), count);
        for (uint32_t s = 0; s < l.stacks; s++)
            for (uint32_t z = 0; z < l.stack[s].count; z++, i++) {
                double cores = l.stack[s].cores, degree = cores;
                if (!strcmp(reg->name, "schatten-p")) degree = o.p * cores;
                if (!strcmp(reg->name, "log-det")) degree = 0;
                if (!strcmp(reg->name, "core-nuclear")) degree = 1;
                if (!strcmp(reg->name, "group-lasso")) {
                    if (cores > 2) continue; /* sides of different lengths grow differently */
                    degree = 1;
                }
                expect_near(after[i], pow(c, degree) * before[i], 1e-7);
            }
        lab_close(&l);
    }
}

/* A weight whose first bond carries one zero index: without it the penalty is the same. */
static void a_zero_index_weighs_nothing(void **state)
{
    (void)state;
    const uint32_t n[3] = {4, 6, 4}, with[4] = {1, 3, 3, 1}, without[4] = {1, 2, 3, 1};
    for (uint32_t index = 0; reg_at(index); index++) {
        const dart_reg *reg = reg_at(index);
        penalty_options o = variant_of(reg, 1);
        lab l = {0};
        double value[2];
        ok(dart_graph_new(&l.graph));
        uint64_t at = add_stack(&l, 0, 1, 3, n, with);
        at = add_stack(&l, at, 1, 3, n, without);
        l.data.words[DART_REGION_PARAM] = at;
        l.data.region[DART_REGION_PARAM] = calloc(at, sizeof(double));
        double *a = core_of(&l, 0, 0, 0), *b = core_of(&l, 0, 0, 1), *c = core_of(&l, 0, 0, 2);
        double *a2 = core_of(&l, 1, 0, 0), *b2 = core_of(&l, 1, 0, 1), *c2 = core_of(&l, 1, 0, 2);
        uint64_t draws = 0;
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t j = 0; j < 2; j++)
                a[i * 3 + j] = a2[i * 2 + j] = dart_normal(8, DART_STREAM_TEST, draws++);
        for (uint32_t i = 0; i < 2 * 18; i++)
            b[i] = b2[i] = dart_normal(8, DART_STREAM_TEST, draws++);
        for (uint32_t i = 0; i < 12; i++) c[i] = c2[i] = dart_normal(8, DART_STREAM_TEST, draws++);
        /* smoothing by the mean of the terms sees how many there are */
        if (!strcmp(reg->name, "column-norm")) o.mu = 1e-9;
        if (!strcmp(reg->name, "group-lasso")) o.mu = 1e-9;
        assert_int_equal(values(&l, reg, &o, value), 2);
        expect_near(value[0], value[1], 1e-6);
        lab_close(&l);
    }
}

/* On pieces that are orthogonal the surrogate is the nuclear norm; elsewhere it is above it. */
static void column_norm_bounds_the_nuclear_norm(void **state)
{
    (void)state;
    lab l;
    double nuclear[8], columns[8];
    const penalty_options o = {.mu = 1e-9};
    lab_open(&l);
    uint32_t count = values(&l, dart_reg_find("bond-nuclear"), &o, nuclear);
    lab_close(&l);
    lab_open(&l);
    values(&l, dart_reg_find("column-norm"), &o, columns);
    for (uint32_t i = 0; i < count; i++) assert_true(columns[i] > 1.001 * nuclear[i]);
    lab_close(&l);
    lab_open(&l);
    for (uint32_t s = 0; s < l.stacks; s++)
        for (uint32_t z = 0; z < l.stack[s].count; z++) {
            dart_chain chain = chain_of(&l, s, z);
            ok(dart_chain_cut(&chain, chain.rank + 1)); /* nothing is cut; the balanced gauge */
            for (uint32_t k = 0; k < chain.cores; k++)
                memcpy(core_of(&l, s, z, k), chain.core[k], l.words[s][k] * sizeof(double));
            dart_chain_free(&chain);
        }
    values(&l, dart_reg_find("column-norm"), &o, columns);
    for (uint32_t i = 0; i < count; i++) expect_near(columns[i], nuclear[i], 1e-6);
    lab_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_match_the_definition),
        cmocka_unit_test(gauge), cmocka_unit_test(scale),
        cmocka_unit_test(a_zero_index_weighs_nothing),
        cmocka_unit_test(column_norm_bounds_the_nuclear_norm)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
