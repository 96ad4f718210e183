/* Cases of the kernels that work row by row: softmax, cross-entropy, norms, and their gradients. */
#include "cases.h"
#include <math.h>

static const uint32_t widths[] = {1, 3, 31, 33, 257, 1030};
enum { WIDTHS = sizeof widths / sizeof *widths };

void dart_suite_cases_softmax(suite *s)
{
    for (uint32_t i = 0; i < 5 * WIDTHS * 4; i++) {
        uint32_t rows = dart_suite_sizes[i / 4 % 5], cols = widths[i / 20];
        bool causal = i & 1, in_place = i & 2;
        softmax_params p = {.rows = rows, .cols = cols, .time = rows, .scale = 0.125f};
        if (rows == 257) p.scale = 3; /* long tails, some results underflow */
        if (causal && p.time > cols) p.time = cols;
        dart_suite_case(s, DART_K_softmax, &p, SUITE_SOFTMAX, "%s %u x %u time %u scale %g%s",
            causal ? "causal" : "full", rows, cols, p.time, (double)p.scale,
            in_place ? ", in place" : "");
        dart_suite_mode(s, "CAUSAL", causal);
        dart_suite_normal(s, (uint64_t)rows * cols, 5, 8);
        if (in_place)
            dart_suite_same(s, 0);
        else
            dart_suite_output(s, (uint64_t)rows * cols);
        dart_suite_done(s);
    }
}

void dart_suite_cases_softmax_lengths(suite *s)
{
    for (uint32_t i = 0; i < 5 * WIDTHS * 4; i++) {
        uint32_t rows = dart_suite_sizes[i / 4 % 5], cols = widths[i / 20];
        uint32_t per = i % 3 ? 1 + i % 7 : rows; /* one length for all, or one every few rows */
        bool causal = i & 1, in_place = i & 2;
        softmax_lengths_params p = {
            .rows = rows, .cols = cols, .time = rows, .per = per, .scale = 0.125f};
        if (rows == 257) p.scale = 3;
        if (causal && p.time > cols) p.time = cols;
        dart_suite_case(s, DART_K_softmax_lengths, &p, SUITE_SOFTMAX,
            "%s %u x %u time %u, a length every %u rows%s", causal ? "causal" : "full", rows, cols,
            p.time, per, in_place ? ", in place" : "");
        dart_suite_mode(s, "CAUSAL", causal);
        dart_suite_normal(s, (uint64_t)rows * cols, 5, 8);
        uint32_t lengths = (rows - 1) / per + 1;
        int32_t *length = dart_suite_integers(s, lengths);
        for (uint32_t n = 0; n < lengths; n++) length[n] = (int32_t)dart_suite_random(s, cols + 1);
        length[lengths - 1] = (int32_t)cols + (int32_t)(i % 5) - 2; /* about full; -1 is none */
        if (lengths > 1) length[0] = 0;
        if (in_place)
            dart_suite_same(s, 0);
        else
            dart_suite_output(s, (uint64_t)rows * cols);
        dart_suite_done(s);
    }
}

void dart_suite_cases_softmax_starts(suite *s)
{
    for (uint32_t i = 0; i < 5 * WIDTHS * 2; i++) {
        uint32_t rows = dart_suite_sizes[i / 2 % 5], cols = widths[i / 10];
        uint32_t time = rows < cols ? rows : cols, heads = 1 + i % 3, per = heads * time;
        softmax_starts_params p = {
            .rows = rows, .cols = cols, .time = time, .per = per, .scale = 0.125f};
        if (rows == 257) p.scale = 3;
        const bool in_place = i & 1;
        dart_suite_case(s, DART_K_softmax_starts, &p, SUITE_SOFTMAX,
            "%u x %u time %u, sequences of %u rows%s", rows, cols, time, per,
            in_place ? ", in place" : "");
        dart_suite_normal(s, (uint64_t)rows * cols, 5, 8);
        const uint32_t starts = ((rows - 1) / per + 1) * time;
        int32_t *start = dart_suite_integers(s, starts);
        /* documents one behind the other; some rows see nothing, one asks for less than there is */
        for (uint32_t n = 0, begin = 0; n < starts; n++) {
            const uint32_t t = n % time;
            if (!t || !dart_suite_random(s, 5)) begin = t + cols - time;
            start[n] = (int32_t)(dart_suite_random(s, 40) ? begin : t + cols - time + 1);
        }
        if (starts > 2) start[starts / 2] = -3;
        if (in_place)
            dart_suite_same(s, 0);
        else
            dart_suite_output(s, (uint64_t)rows * cols);
        dart_suite_done(s);
    }
}

/* Rows that sum to 1. */
static void make_softmax(float *y, uint32_t rows, uint32_t cols)
{
    for (uint32_t r = 0; r < rows; r++, y += cols) {
        double sum = 0;
        for (uint32_t j = 0; j < cols; j++) sum += exp((double)y[j]);
        for (uint32_t j = 0; j < cols; j++) y[j] = (float)(exp((double)y[j]) / sum);
    }
}

void dart_suite_cases_softmax_dx(suite *s)
{
    for (uint32_t i = 0; i < 5 * WIDTHS * 2; i++) {
        uint32_t rows = dart_suite_sizes[i / 2 % 5], cols = widths[i / 10];
        uint64_t words = (uint64_t)rows * cols;
        softmax_dx_params p = {.rows = rows, .cols = cols, .scale = 0.25f};
        /* One column: the result is exactly 0 only in exact arithmetic, so bounds are absolute
         * there. */
        dart_suite_case(s, DART_K_softmax_dx, &p, SUITE_GRADIENT, "%u x %u%s", rows, cols,
            i & 1 ? ", in place" : "");
        make_softmax(dart_suite_normal(s, words, 0, 2), rows, cols);
        dart_suite_normal(s, words, 0, 1);
        if (i & 1)
            dart_suite_same(s, 1);
        else
            dart_suite_output(s, words);
        dart_suite_done(s);
    }
}

/* Labels over all of the vocabulary, every eleventh ignored (-1 or padding). */
static void make_labels(suite *s, int32_t *label, uint32_t rows, uint32_t cols, uint32_t valid)
{
    for (uint32_t r = 0; r < rows; r++) {
        label[r] = (int32_t)dart_suite_random(s, valid);
        if (r % 11 == 5) label[r] = -1;
        if (r % 11 == 8) label[r] = (int32_t)cols;
    }
    label[0] = (int32_t)valid - 1;
}

static const uint32_t vocabularies[] = {1, 3, 31, 33, 257, 2003};

void dart_suite_cases_cross_entropy(suite *s)
{
    static const char *const ways[] = {"", ", gradient", ", gradient in place"};
    for (uint32_t i = 0; i < 5 * 6 * 9; i++) {
        const uint32_t rows = dart_suite_sizes[i / 9 % 5], valid = vocabularies[i / 45];
        const uint32_t cols = valid + (i % 3 == 1 ? 13 : 0), way = i / 3 % 3, ranked = i % 2;
        cross_entropy_params p = {.rows = rows, .cols = cols, .valid = valid, .scale = 0.01f};
        if (i % 3 == 2) p.smoothing = rows & 1 ? 0.1f : 0.5f;
        dart_suite_case(s, DART_K_cross_entropy, &p, SUITE_SOFTMAX,
            "%u x %u of %u, smoothing %g%s%s", rows, valid, cols, (double)p.smoothing,
            ranked ? ", ranks" : "", ways[way]);
        dart_suite_mode(s, "GRAD", way > 0);
        dart_suite_mode(s, "RANK", ranked);
        float *x = dart_suite_normal(s, (uint64_t)rows * cols, 1, 4);
        if (ranked && !way) /* equal ones */
            for (uint64_t e = 0; e < (uint64_t)rows * cols; e++) x[e] = rintf(x[e]);
        make_labels(s, dart_suite_integers(s, rows), rows, cols, valid);
        dart_suite_output(s, (2 + ranked) * (uint64_t)rows);
        if (way == 1)
            dart_suite_output(s, (uint64_t)rows * cols);
        else
            dart_suite_same(s, way ? 0 : 2);
        dart_suite_done(s);
    }
    /* One likely word and many that are little beside it: together they are not. */
    for (uint32_t rows = 1; rows < 4; rows++) {
        const uint32_t cols = 50257;
        cross_entropy_params p = {.rows = rows, .cols = cols, .valid = cols};
        dart_suite_case(
            s, DART_K_cross_entropy, &p, SUITE_SOFTMAX, "%u x %u, one likely", rows, cols);
        float *x = dart_suite_normal(s, (uint64_t)rows * cols, -13.5, 0.3);
        int32_t *label = dart_suite_integers(s, rows);
        for (uint32_t r = 0; r < rows; r++) {
            label[r] = (int32_t)(r * 12345);
            x[(uint64_t)r * cols + r * 12345] = 0;
        }
        dart_suite_output(s, 2 * (uint64_t)rows);
        dart_suite_same(s, 2);
        dart_suite_done(s);
    }
}

/* The first tensor of a norm: f32, or of 16 bits. */
static void rows_of(suite *s, uint64_t numbers, uint32_t half)
{
    dart_suite_mode(s, "XH", half);
    if (half)
        dart_suite_halves(s, numbers, half);
    else
        dart_suite_normal(s, numbers, 0.5, 2);
}

/* In the second round rows have 16 bits, where their length is even. */
static uint32_t half_of(uint32_t round, uint32_t cols)
{
    return cols % 2 ? 0 : round;
}

void dart_suite_cases_norm(suite *s)
{
    for (uint32_t i = 0; i < 5 * WIDTHS * 2 * 3; i++) {
        const uint32_t round = i / (5 * WIDTHS * 2), at = i % (5 * WIDTHS * 2);
        uint32_t rows = dart_suite_sizes[at / 2 % 5], cols = widths[at / 10], kind = i & 1;
        const uint32_t half = half_of(round, cols), x = at / 2 % 3 ? half : 0;
        const uint32_t y = at / 2 % 3 < 2 ? half : 0;
        if (round && !half) continue;
        uint64_t words = (uint64_t)rows * cols;
        norm_params p = {.rows = rows, .cols = cols, .eps = 1e-5f};
        dart_suite_case(s, DART_K_norm, &p, y ? SUITE_HALVES(half) : SUITE_ELEMENT,
            "%s %u x %u%s%s", kind ? "rms" : "layer", rows, cols, x ? ", x in 16 bits" : "",
            y ? ", y in 16 bits" : "");
        dart_suite_mode(s, "KIND", kind);
        dart_suite_mode(s, "YH", y);
        rows_of(s, words, x);
        dart_suite_normal(s, cols, 1, 0.2);
        if (kind)
            dart_suite_same(s, 1);
        else
            dart_suite_normal(s, cols, 0, 0.2);
        if (y)
            dart_suite_halves_output(s, words, y);
        else
            dart_suite_output(s, words);
        dart_suite_done(s);
    }
}

void dart_suite_cases_norm_dx(suite *s)
{
    for (uint32_t i = 0; i < 5 * WIDTHS * 2 * 3; i++) {
        const uint32_t round = i / (5 * WIDTHS * 2), at = i % (5 * WIDTHS * 2);
        uint32_t rows = dart_suite_sizes[at / 2 % 5], cols = widths[at / 10], kind = i & 1;
        const uint32_t half = half_of(round, cols);
        if (round && !half) continue;
        uint64_t words = (uint64_t)rows * cols;
        norm_dx_params p = {.rows = rows, .cols = cols, .eps = 1e-5f};
        /* A row of one: LayerNorm's gradient is 0, RMSNorm's all cancellation; eps of the size of
         * x^2 keeps it a question with an answer in single precision. */
        if (cols == 1) p.eps = 1;
        const bool add = i / 2 % 3 == 2;
        dart_suite_case(s, DART_K_norm_dx, &p, SUITE_GRADIENT, "%s %u x %u%s%s",
            kind ? "rms" : "layer", rows, cols, add ? ", added" : "", half ? ", x in 16 bits" : "");
        dart_suite_mode(s, "KIND", kind);
        dart_suite_mode(s, "ADD", add);
        rows_of(s, words, half);
        dart_suite_normal(s, cols, 1, 0.2);
        dart_suite_normal(s, words, 0, 1);
        if (add)
            dart_suite_normal(s, words, 0, 1);
        else
            dart_suite_output(s, words);
        dart_suite_done(s);
    }
}

void dart_suite_cases_norm_dw(suite *s)
{
    for (uint32_t i = 0; i < 5 * WIDTHS * 4 * 3; i++) {
        const uint32_t round = i / (5 * WIDTHS * 4), at = i % (5 * WIDTHS * 4);
        uint32_t rows = dart_suite_sizes[at / 4 % 5], cols = widths[at / 20], kind = i & 1;
        const uint32_t half = half_of(round, cols);
        if (round && !half) continue;
        uint32_t per = i & 2 ? 64 : 7, chunks = (rows + per - 1) / per;
        uint64_t words = (uint64_t)rows * cols;
        norm_dw_params p = {.rows = rows, .cols = cols, .chunks = chunks, .per = per, .eps = 1e-5f};
        dart_suite_case(s, DART_K_norm_dw, &p, SUITE_GRADIENT, "%s %u x %u in %u chunks of %u%s",
            kind ? "rms" : "layer", rows, cols, chunks, per, half ? ", x in 16 bits" : "");
        dart_suite_mode(s, "KIND", kind);
        rows_of(s, words, half);
        dart_suite_normal(s, words, 0.2, 1);
        dart_suite_output(s, 2 * (uint64_t)chunks * cols);
        dart_suite_done(s);
    }
}
