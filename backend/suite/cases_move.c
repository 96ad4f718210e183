/* Cases of the kernels that move or mask words: permute, gather, scatter, rope, dropout,
 * uniform, cache_write; and of attend, which reads what cache_write wrote. */
#include "cases.h"
#include <math.h>

typedef struct view {
    uint32_t dim[6], stride[6];
} view;

static void one_permute(suite *s, const view *v, uint32_t offset, const char *what)
{
    const uint32_t *d = v->dim, *t = v->stride;
    uint64_t n = 1, reach = offset + 1;
    for (int i = 0; i < 6; i++) {
        n *= d[i];
        reach += (uint64_t)(d[i] - 1) * t[i];
    }
    permute_params p = {(uint32_t)n, offset, d[0], d[1], d[2], d[3], d[4], d[5], t[0], t[1], t[2],
        t[3], t[4], t[5]};
    dart_suite_case(s, DART_K_permute, &p, SUITE_EXACT,
        "%s %ux%ux%ux%ux%ux%u strides %u %u %u %u %u %u offset %u", what, d[0], d[1], d[2], d[3],
        d[4], d[5], t[0], t[1], t[2], t[3], t[4], t[5], offset);
    dart_suite_bits(s, reach);
    dart_suite_bits_output(s, n);
    dart_suite_done(s);
}

/* The view of a contiguous tensor whose axes are read in a random order; some may repeat (stride
 * 0). */
static view shuffled(suite *s, const uint32_t dim[6], bool repeat)
{
    uint32_t order[6] = {0, 1, 2, 3, 4, 5}, stride[6];
    uint32_t step = 1;
    for (int i = 5; i >= 0; i--) {
        stride[i] = step;
        step *= dim[i];
        uint32_t j = dart_suite_random(s, (uint32_t)i + 1), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    view v;
    for (int i = 0; i < 6; i++) {
        v.dim[i] = dim[order[i]];
        v.stride[i] = repeat && dart_suite_random(s, 3) == 0 ? 0 : stride[order[i]];
    }
    return v;
}

void dart_suite_cases_permute(suite *s)
{
    for (uint32_t i = 0; i < 25; i++) { /* transposes and copies of all sizes */
        uint32_t m = dart_suite_sizes[i % 5], n = dart_suite_sizes[i / 5];
        one_permute(s, &(view){{1, 1, 1, 1, n, m}, {0, 0, 0, 0, 1, n}}, 0, "transpose");
        one_permute(s, &(view){{1, 1, 1, 1, m, n}, {0, 0, 0, 0, n, 1}}, 5, "copy");
        one_permute(s, &(view){{1, 1, 1, 1, m, n}, {0, 0, 0, 0, n + 3, 1}}, 1, "cut");
    }
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t dim[6] = {1, 1, 1, 1, 1, 1};
        for (uint32_t d = i % 5; d < 6; d++) dim[d] = 1 + dart_suite_random(s, i % 5 > 2 ? 40 : 6);
        view v = shuffled(s, dim, i % 3 == 2);
        one_permute(s, &v, i % 4, i % 3 == 2 ? "repeat" : "axes");
    }
    one_permute(s, &(view){{1, 1, 4, 8, 128, 32}, {0, 0, 32768, 32, 256, 1}}, 0, "heads");
    one_permute(s, &(view){{1, 1, 1, 1, 300, 1000}, {0, 0, 0, 0, 0, 1}}, 0, "repeated row");
}

void dart_suite_cases_gather(suite *s)
{
    for (uint32_t i = 0; i < 75; i++) {
        uint32_t rows = dart_suite_sizes[i % 5], cols = dart_suite_sizes[i / 5 % 5],
                 vocab = i < 25   ? 61
                         : i < 50 ? 1
                                  : 29,
                 first = i < 50 ? 0 : 64;
        gather_params p = {.rows = rows, .cols = cols, .vocab = vocab, .first = first};
        dart_suite_case(s, DART_K_gather, &p, SUITE_EXACT, "%u of %u rows of %u from %u on", rows,
            vocab, cols, first);
        int32_t *ids = dart_suite_integers(s, rows);
        for (uint32_t r = 0; r < rows; r++) {
            ids[r] = (int32_t)(first + dart_suite_random(s, vocab));
            if (r % 9 == 4) ids[r] = r & 1 ? -1 : (int32_t)(first + vocab); /* outside */
            if (first && r % 9 == 7) ids[r] = (int32_t)dart_suite_random(s, first);
        }
        dart_suite_normal(s, (uint64_t)vocab * cols, 0, 1);
        if (first) /* what is outside stays */
            dart_suite_normal(s, (uint64_t)rows * cols, 0, 1);
        else
            dart_suite_output(s, (uint64_t)rows * cols);
        dart_suite_done(s);
    }
}

void dart_suite_cases_scatter(suite *s)
{
    for (uint32_t i = 0; i < 150; i++) {
        const bool add = i >= 75;
        const uint32_t part = i % 75;
        uint32_t rows = dart_suite_sizes[i % 5], cols = dart_suite_sizes[i / 5 % 5],
                 vocab = part < 25 || part >= 50 ? 61 : 2;
        uint32_t id[257];
        scatter_params p = {.rows = rows,
            .cols = cols,
            .vocab = vocab,
            .first = part < 50 ? 0 : 31,
            .count = part < 50 ? vocab
                     : i % 2   ? 30
                               : 7};
        dart_suite_case(s, DART_K_scatter, &p, SUITE_PRODUCT,
            "%u into %u rows of %u, %u from %u on%s", rows, vocab, cols, p.count, p.first,
            add ? ", added" : "");
        dart_suite_mode(s, "ADD", add);
        int32_t *index = dart_suite_integers(s, vocab + 1 + rows);
        for (uint32_t r = 0; r < rows; r++) id[r] = dart_suite_random(s, vocab);
        uint32_t next = 0;
        for (uint32_t v = 0; v < vocab; v++) {
            index[v] = (int32_t)next;
            for (uint32_t r = 0; r < rows; r++)
                if (id[r] == v) index[vocab + 1 + next++] = (int32_t)r;
        }
        index[vocab] = (int32_t)next;
        dart_suite_normal(s, (uint64_t)rows * cols, 0.5, 1);
        if (add)
            dart_suite_normal(s, (uint64_t)p.count * cols, 0, 1);
        else
            dart_suite_output(s, (uint64_t)p.count * cols);
        dart_suite_done(s);
    }
}

void dart_suite_cases_rope(suite *s)
{
    static const uint32_t dims[] = {2, 6, 16, 62, 66};
    for (uint32_t i = 0; i < 5 * 4 * 2; i++) {
        uint32_t dim = dims[i % 5], time = dart_suite_sizes[i / 5 % 4], heads = 1 + i / 5 % 3;
        rope_params p = {
            .batch = 2, .time = time, .heads = heads, .dim = dim, .sign = i < 20 ? 1 : -1};
        dart_suite_case(s, DART_K_rope, &p, SUITE_ELEMENT, "2 x %u x %u x %u sign %g", time, heads,
            dim, (double)p.sign);
        uint64_t words = (uint64_t)2 * time * heads * dim;
        dart_suite_normal(s, words, 0, 1);
        float *table = dart_suite_normal(s, (uint64_t)time * dim, 0, 1);
        for (uint32_t t = 0; t < time; t++)
            for (uint32_t j = 0; j < dim / 2; j++, table += 2) {
                double angle = t * pow(10000, -2.0 * j / dim);
                table[0] = (float)cos(angle);
                table[1] = (float)sin(angle);
            }
        dart_suite_output(s, words);
        dart_suite_done(s);
    }
}

void dart_suite_cases_dropout(suite *s)
{
    static const uint32_t sizes[] = {1, 3, 31, 33, 257, 1000, 20001};
    for (uint32_t i = 0; i < 7 * 3 * 2; i++) {
        uint32_t n = sizes[i % 7];
        const double rate = i / 7 % 3 == 0 ? 0 : i / 7 % 3 == 1 ? 0.1 : 0.5;
        dropout_params p = {.n = n,
            .stream = 17 + i,
            .threshold = (uint32_t)(rate * 4294967296.0),
            .keep_scale = (float)(1 / (1 - rate))};
        dart_suite_case(s, DART_K_dropout, &p, SUITE_ELEMENT, "n %u rate %g%s%s", n, rate,
            i < 21 ? "" : ", in place", i % 2 ? ", added" : "");
        dart_suite_mode(s, "ADD", i % 2);
        dart_suite_normal(s, n, 0, 1);
        int32_t *step = dart_suite_integers(s, 8);
        step[0] = (int32_t)i * 1000;
        step[1] =
            (int32_t)dart_suite_random(s, UINT32_MAX); /* bit patterns: half of them negative */
        step[2] = (int32_t)dart_suite_random(s, UINT32_MAX);
        if (i < 21)
            dart_suite_output(s, n);
        else
            dart_suite_same(s, 0);
        dart_suite_normal(s, i % 2 ? n : 1, 0, 1);
        dart_suite_done(s);
    }
}

void dart_suite_cases_cache_write(suite *s)
{
    for (uint32_t i = 0; i < 5 * 4 * 3; i++) {
        uint32_t cols = dart_suite_sizes[i % 5], time = dart_suite_sizes[i / 5 % 4],
                 batch = 1 + i / 20;
        uint32_t span = time + dart_suite_random(s, 40), at = dart_suite_random(s, span);
        cache_write_params p = {.batch = batch, .time = time, .cols = cols, .span = span};
        dart_suite_case(s, DART_K_cache_write, &p, SUITE_EXACT, "%u x %u rows of %u at %u of %u",
            batch, time, cols, at, span);
        dart_suite_normal(s, (uint64_t)batch * time * cols, 0, 1);
        dart_suite_normal(s, (uint64_t)batch * time * cols, 0, 1);
        *dart_suite_integers(s, 1) =
            i % 10 == 9 ? -3 : (int32_t)at; /* a bad place: nothing changes */
        dart_suite_normal(s, (uint64_t)2 * batch * span * cols, 0, 1);
        dart_suite_done(s);
    }
}

static void one_attend(suite *s, const attend_params *p, uint32_t at)
{
    const uint64_t rows = (uint64_t)p->batch * p->time * p->heads;
    dart_suite_case(s, DART_K_attend, p, SUITE_SOFTMAX, "%u x %u x %u/%u of %u over %u of %u",
        p->batch, p->time, p->heads, p->kv, p->dim, at + p->time, p->span);
    dart_suite_normal(s, rows * p->dim, 0, 1);
    dart_suite_normal(s, (uint64_t)2 * p->batch * p->span * p->kv * p->dim, 0.5, 1);
    *dart_suite_integers(s, 1) = (int32_t)at;
    dart_suite_output(s, rows * p->dim);
    dart_suite_done(s);
}

void dart_suite_cases_attend(suite *s)
{
    static const uint32_t dims[] = {1, 6, 16, 33, 64}, spans[] = {1, 31, 64, 65, 300};
    for (uint32_t i = 0; i < 5 * 5 * 3; i++) {
        uint32_t dim = dims[i % 5], span = spans[i / 5 % 5], batch = 1 + i % 2;
        uint32_t kv = 1 + dart_suite_random(s, 3), heads = kv * (1 + i / 25);
        uint32_t time = i % 3 ? 1 : span < 7 ? span : 7, at = dart_suite_random(s, span - time + 1);
        if (i % 7 == 6) at = span - time; /* the end of the cache */
        one_attend(s, &(attend_params){batch, time, heads, kv, dim, span, i % 4 ? 0.3f : 3}, at);
    }
    /* long caches: near the loop iterations that Mesa's processor driver allows */
    one_attend(s, &(attend_params){1, 1, 2, 1, 16, 9000, 0.25f}, 8999);
    one_attend(s, &(attend_params){1, 1, 1, 1, 64, 12000, 0.125f}, 11999);
}

void dart_suite_cases_uniform(suite *s)
{
    static const uint32_t sizes[] = {1, 2, 3, 31, 33, 257, 1000, 20001};
    for (uint32_t i = 0; i < 8 * 2; i++) {
        uniform_params p = {.n = sizes[i % 8], .stream = 5 + i};
        dart_suite_case(s, DART_K_uniform, &p, SUITE_EXACT, "n %u stream %u", p.n, p.stream);
        int32_t *step = dart_suite_integers(s, 8);
        step[0] = (int32_t)i * 1000;
        step[1] = (int32_t)dart_suite_random(s, UINT32_MAX);
        step[2] = (int32_t)dart_suite_random(s, UINT32_MAX);
        dart_suite_output(s, p.n);
        dart_suite_done(s);
    }
}
