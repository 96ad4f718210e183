/* GPTQ: the numbers are of the format, bit for bit, and their outputs nearer than plain rounding's;
 * what comes out is a base whose packing loses nothing. */
/* both headers have something of this name */
#define allocations failing_allocations
#include "full_disk.h"
#include "failing_alloc.h"
#undef allocations
#define LAB_WIDTH 64 /* a block of nf4; the MLP's 96 are none */
#include "compress_lab.h"
#include "decompose.h"
#include "gptq.h"
#include <math.h>

enum { ROWS = 40, COLUMNS = 192, SAMPLES = 300 };

static const dart_packed formats[] = {DART_PACKED_nf4, DART_PACKED_q4_0, DART_PACKED_q8_0};
enum { FORMATS = sizeof formats / sizeof *formats };

/* A matrix, inputs that depend on each other, and their second moments. */
typedef struct problem {
    float matrix[ROWS * COLUMNS], plain[ROWS * COLUMNS], rounded[ROWS * COLUMNS];
    double input[SAMPLES * COLUMNS], moments[COLUMNS * COLUMNS];
} problem;
static problem p;

static void set_problem(uint64_t seed, double together)
{
    for (uint32_t i = 0; i < ROWS * COLUMNS; i++)
        p.matrix[i] = (float)(0.1 * dart_normal(seed, DART_STREAM_TEST, i));
    for (uint32_t s = 0; s < SAMPLES; s++)
        for (uint32_t c = 0; c < COLUMNS; c++) {
            const uint32_t i = s * COLUMNS + c;
            p.input[i] = dart_normal(seed, DART_STREAM_TEST + 1, i);
            if (c) p.input[i] += together * p.input[i - 1];
        }
    for (uint32_t a = 0; a < COLUMNS; a++)
        for (uint32_t b = 0; b < COLUMNS; b++) {
            double sum = 0;
            for (uint32_t s = 0; s < SAMPLES; s++)
                sum += p.input[s * COLUMNS + a] * p.input[s * COLUMNS + b];
            p.moments[a * COLUMNS + b] = sum;
        }
}

static void round_problem(dart_packed format)
{
    if (dart_gptq(format, ROWS, COLUMNS, p.matrix, p.moments, "W", p.plain, p.rounded) != DART_OK)
        fail_msg("%s", dart_error_text());
}

/* Of one row's outputs over all inputs, squared, and a hundredth of the mean of H's diagonal beside
 * it: what GPTQ makes small. */
static double error_of(const float *row, const float *instead)
{
    double all = 0, size = 0, mean = 0;
    for (uint32_t s = 0; s < SAMPLES; s++) {
        double off = 0;
        for (uint32_t c = 0; c < COLUMNS; c++)
            off += ((double)row[c] - instead[c]) * p.input[s * COLUMNS + c];
        all += off * off;
    }
    for (uint32_t c = 0; c < COLUMNS; c++) {
        size += ((double)row[c] - instead[c]) * ((double)row[c] - instead[c]);
        mean += p.moments[c * COLUMNS + c] / COLUMNS;
    }
    return all + 0.01 * mean * size;
}

static void expect_same(const float *a, const float *b, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a))
            fail_msg("%s: number %zu is %.9g instead of %.9g", what, i, a[i], b[i]);
}

/* Packs numbers, which have to be found again. */
static void expect_lossless(dart_packed format, const float *x, const char *what)
{
    static uint32_t words[ROWS * COLUMNS];
    static float again[ROWS * COLUMNS];
    assert_int_equal(dart_packed_encode(format, x, ROWS, COLUMNS, what, words), DART_OK);
    dart_packed_decode(format, words, ROWS, COLUMNS, again);
    expect_same(again, x, ROWS * COLUMNS, what);
}

/* ---- an oracle: the same rules, from the definition, in f64 ---- */

/* The inverse of a (n,n), symmetric and positive, by Gauss and Jordan. */
static void invert(uint32_t n, double *a)
{
    for (uint32_t k = 0; k < n; k++) {
        const double pivot = a[k * n + k];
        for (uint32_t j = 0; j < n; j++) a[k * n + j] /= pivot;
        a[k * n + k] = 1 / pivot;
        for (uint32_t i = 0; i < n; i++) {
            const double by = a[i * n + k];
            if (i == k) continue;
            for (uint32_t j = 0; j < n; j++)
                if (j != k) a[i * n + j] -= by * a[k * n + j];
            a[i * n + k] = -by / pivot;
        }
    }
}

/* One row of nf4 by the rule of OBS: number j becomes q, those behind it take (w_j - q) B_jk / B_jj
 * off, and B, the inverse of H for the numbers from j on, loses j. */
static double oracle_block(const double *inverse, double *w, uint32_t first, double scale,
    uint32_t end, uint32_t code, double *out)
{
    static const float level[] = {
#define NF4(number, value) value,
#include "packed.def"
#undef NF4
    };
    static double b[COLUMNS * COLUMNS];
    const uint32_t n = COLUMNS - first; /* inverse: of these */
    double cost = 0;
    memcpy(b, inverse, (size_t)n * n * sizeof *b);
    for (uint32_t j = 0; j < 64; j++) {
        double nearest = level[code];
        for (uint32_t k = 0; k < 16 && j != end; k++)
            if (fabs(scale * level[k] - w[first + j]) < fabs(scale * nearest - w[first + j]))
                nearest = level[k];
        const double off = w[first + j] - scale * nearest;
        out[j] = scale * nearest;
        cost += off * off / b[j * n + j];
        for (uint32_t k = j; k < n; k++) w[first + k] -= off * b[j * n + k] / b[j * n + j];
        for (uint32_t i = j + 1; i < n; i++)
            for (uint32_t k = j + 1; k < n; k++)
                b[i * n + k] -= b[i * n + j] * b[j * n + k] / b[j * n + j];
    }
    return cost;
}

/* The first row of the problem as nf4; all ten candidates of each block are tried out. */
static void oracle_row(float *out)
{
    static double inverse[COLUMNS * COLUMNS], w[COLUMNS], tried[COLUMNS];
    double mean = 0, block[64];
    for (uint32_t c = 0; c < COLUMNS; c++) w[c] = p.matrix[c];
    for (uint32_t c = 0; c < COLUMNS; c++) mean += p.moments[c * COLUMNS + c] / COLUMNS;
    for (uint32_t first = 0; first < COLUMNS; first += 64) {
        const uint32_t n = COLUMNS - first;
        double best = INFINITY, best_scale = 0;
        uint32_t end = 0, best_code = 0;
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < n; j++)
                inverse[i * n + j] =
                    p.moments[(first + i) * COLUMNS + first + j] + (i == j ? 0.01 * mean : 0);
        invert(n, inverse);
        for (uint32_t j = 1; j < 64; j++)
            if (fabs(w[first + j]) > fabs(w[first + end])) end = j;
        for (int c = 0; c < 10; c++) {
            const uint32_t code = c < 5 ? 0 : 15;
            const double scale = w[first + end] * (code ? 1 : -1) * (1 - 0.05 * (c % 5));
            memcpy(tried, w, sizeof w);
            const double cost = oracle_block(inverse, tried, first, scale, end, code, block);
            if (!(cost < best)) continue;
            best = cost;
            best_scale = scale;
            best_code = code;
        }
        oracle_block(inverse, w, first, best_scale, end, best_code, block);
        for (uint32_t j = 0; j < 64; j++) out[first + j] = (float)block[j];
    }
}

/* ---- tests ---- */

static void outputs_are_nearer_than_plain_rounding(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++)
        for (uint64_t seed = 1; seed < 4; seed++) {
            double plain = 0, rounded = 0;
            set_problem(seed, 0.9);
            round_problem(formats[f]);
            for (uint32_t r = 0; r < ROWS; r++) {
                const float *row = p.matrix + r * COLUMNS;
                plain += error_of(row, p.plain + r * COLUMNS);
                rounded += error_of(row, p.rounded + r * COLUMNS);
            }
            if (!(rounded < 0.5 * plain)) fail_msg("format %d: %g, plain %g", f, rounded, plain);
            if (seed == 1) print_message("format %d: %g, plain %g\n", f, rounded, plain);
        }
}

static void it_is_what_an_oracle_does(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 4; seed++) {
        float row[COLUMNS];
        set_problem(seed, 0.8);
        round_problem(DART_PACKED_nf4);
        oracle_row(row);
        for (uint32_t c = 0; c < COLUMNS; c++)
            if (!(fabs((double)row[c] - p.rounded[c]) < 1e-5 * 0.1))
                fail_msg("%llu: number %u is %g, the oracle's is %g", (unsigned long long)seed, c,
                    p.rounded[c], row[c]);
    }
}

/* Nothing can be made up for by others then. */
static void independent_inputs_are_rounded_plainly(void **state)
{
    (void)state;
    set_problem(5, 0);
    memset(p.moments, 0, sizeof p.moments);
    for (uint32_t c = 0; c < COLUMNS; c++) p.moments[c * COLUMNS + c] = 3;
    round_problem(DART_PACKED_nf4);
    expect_same(p.rounded, p.plain, ROWS * COLUMNS, "nf4");
}

static void packing_loses_nothing(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++)
        for (uint64_t seed = 1; seed < 6; seed++) {
            set_problem(seed, 0.9);
            for (uint32_t c = 0; c < COLUMNS; c++) { /* rows that are not as usual */
                float *row = p.matrix + c;
                row[0 * COLUMNS] = 0;
                row[1 * COLUMNS] = -0.0f;
                row[2 * COLUMNS] = c == 70 ? -3.0f : 0;
                row[3 * COLUMNS] = 0.25f;
                row[4 * COLUMNS] = -0.25f;
                row[5 * COLUMNS] *= 1e-38f;
                row[6 * COLUMNS] *= f ? 1e4f : 1e30f;
                row[7 * COLUMNS] = fabsf(row[7 * COLUMNS]);
                row[8 * COLUMNS] = -fabsf(row[8 * COLUMNS]);
                row[9 * COLUMNS] = c % 2 ? 1.0f : -1.0f;
                row[10 * COLUMNS] *= 1e-7f;
            }
            round_problem(formats[f]);
            expect_lossless(formats[f], p.rounded, "rounded");
            for (uint32_t i = 0; i < ROWS * COLUMNS; i++) assert_true(isfinite(p.rounded[i]));
        }
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    static float one[ROWS * COLUMNS];
    set_problem(7, 0.9);
    assert_int_equal(setenv("DART_THREADS", "1", 1), 0);
    round_problem(DART_PACKED_nf4);
    memcpy(one, p.rounded, sizeof one);
    assert_int_equal(setenv("DART_THREADS", "3", 1), 0);
    round_problem(DART_PACKED_nf4);
    assert_int_equal(unsetenv("DART_THREADS"), 0);
    expect_same(p.rounded, one, ROWS * COLUMNS, "three threads");
}

static void bad_moments_are_refused(void **state)
{
    (void)state;
    set_problem(8, 0.5);
    p.moments[COLUMNS + 1] = NAN;
    expect(dart_gptq(formats[0], ROWS, COLUMNS, p.matrix, p.moments, "W", p.plain, p.rounded),
        DART_INPUT, "not finite");
    memset(p.moments, 0, sizeof p.moments);
    expect(dart_gptq(formats[0], ROWS, COLUMNS, p.matrix, p.moments, "W", p.plain, p.rounded),
        DART_INPUT, "not all zero");
    set_problem(8, 0.5);
    p.matrix[3] = INFINITY;
    expect(dart_gptq(formats[0], ROWS, COLUMNS, p.matrix, p.moments, "W", p.plain, p.rounded),
        DART_INPUT, "W");
    p.matrix[3] = 1e9f;
    expect(dart_gptq(formats[1], ROWS, COLUMNS, p.matrix, p.moments, "W", p.plain, p.rounded),
        DART_INPUT, "W");
}

/* ---- models ---- */

static dart_compress_options rounding(const char *dtype, const char *out)
{
    return (dart_compress_options){.method = "gptq",
        .dtype = dtype,
        .calibrate = text_path,
        .calibrate_tokens = 2000,
        .out = out};
}

/* The model that came out, f32 or packed. */
static void opened_as(const char *path, const char *dtype, dart_bundle *out)
{
    dart_recipe *over = opening();
    set(over, "base_dtype", dtype);
    opened(path, over, out);
    dart_recipe_free(over);
}

/* Row by row against what was written: errors, which matrices stay, and that packing them, as a
 * base is packed, keeps every bit. */
static void check_rounded(
    const char *from, const dart_compression *c, const char *out, const char *dtype, uint32_t kept)
{
    dart_bundle base, plain, wide, packed;
    uint32_t stays = 0, rows = 0;
    opened_as(from, "f32", &base);
    opened_as(from, dtype, &plain);
    opened_as(out, "f32", &wide);
    opened_as(out, dtype, &packed);
    for (uint32_t w = 0; w < base.model->weights; w++) {
        const dart_weight *weight = &base.model->weight[w].weight;
        const size_t count = (size_t)weight->out * weight->in;
        const dart_compress_row *row = dart_compression_row(c, rows);
        float *x[] = {matrix(&base, w), matrix(&plain, w), matrix(&wide, w), matrix(&packed, w)};
        if ((int)w == base.model->embedding) {
            expect_same(x[2], x[0], count, "the table");
        } else {
            const double wanted[] = {row->plain_error, row->error};
            assert_string_equal(row->name, weight->name);
            assert_int_equal(row->before, count);
            assert_int_equal(row->after, count);
            expect_same(x[3], x[2], count, row->name);
            for (int k = 0; k < 2 && *row->dtype; k++) {
                double error, whole;
                assert_int_equal(
                    dart_decompose_error(weight, x[0], x[1 + k], (dart_metric){0}, &error, &whole),
                    DART_OK);
                if (!(fabs(error / whole - wanted[k]) < 1e-6))
                    fail_msg("%s: %g, the table says %g", row->name, error / whole, wanted[k]);
            }
            if (*row->dtype) {
                assert_string_equal(row->dtype, dtype);
                if (!(row->output_error < row->plain_output_error))
                    fail_msg("%s: %g of its outputs, plainly %g", row->name, row->output_error,
                        row->plain_output_error);
            } else {
                expect_same(x[2], x[0], count, row->name);
                assert_true(row->error == 0 && isnan(row->output_error));
                stays++;
            }
            assert_true(isnan(row->loss_rise) && !*row->ranks);
            rows++;
        }
        for (int k = 0; k < 4; k++) free(x[k]);
    }
    assert_int_equal(rows, dart_compression_rows(c));
    assert_int_equal(stays, kept);
    for (uint32_t i = 0; i < base.model->params; i++) {
        const dart_param *a = &base.model->param[i], *b = &wide.model->param[i];
        if (a->weight < 0)
            expect_same((b->region == DART_REGION_FROZEN ? wide.frozen : wide.param) + b->offset,
                (a->region == DART_REGION_FROZEN ? base.frozen : base.param) + a->offset,
                dart_shape_words(&a->shape), a->name);
    }
    dart_bundle_free(&base);
    dart_bundle_free(&plain);
    dart_bundle_free(&wide);
    dart_bundle_free(&packed);
}

static void models_are_bases_again(void **state)
{
    (void)state;
    static const struct {
        const char *dtype;
        uint32_t kept;
    } cases[] = {{"nf4", LAB_LAYERS}, {"q4_0", 0}, {"q8_0", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t before, after;
        const dart_compress_options o = rounding(cases[i].dtype, in(cases[i].dtype));
        dart_compression *c = compressed(&o);
        check_rounded(base_path, c, o.out, cases[i].dtype, cases[i].kept);
        dart_compression_size(c, &before, &after);
        assert_int_equal(before, after);
        dart_compression_free(c);
    }
}

/* Perplexity of the text's test part, the base packed or not. */
static double perplexity(const char *path, const char *dtype)
{
    dart_eval_result r;
    dart_recipe *over = opening();
    set(over, "text", text_path);
    set(over, "base_dtype", dtype);
    set(over, "base_embedding_dtype", "f32");
    if (handle_eval(path, over, &r) != DART_OK) fail_msg("%s: %s", path, dart_error_text());
    dart_recipe_free(over);
    return r.test_ppl;
}

/* LoRA beside what came out begins with its function, whichever way it is kept, and learns. */
static void training_goes_on_beside_it(void **state)
{
    (void)state;
    double first[2];
    assert_true(perplexity(in("nf4"), "nf4") == perplexity(in("nf4"), "f32"));
    for (int packed = 0; packed < 2; packed++) {
        watch w = {0};
        dart_result result;
        dart_recipe *recipe = tuning("lora", "cpu", in(packed ? "tuned-nf4" : "tuned-f32"));
        set(recipe, "base", in("nf4"));
        set(recipe, "base_dtype", packed ? "nf4" : "f32");
        set(recipe, "base_embedding_dtype", "f32");
        if (train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
        first[packed] = w.first;
        dart_recipe_free(recipe);
    }
    assert_true(first[0] == first[1]);
}

static void adapters_are_merged_first(void **state)
{
    (void)state;
    const dart_compress_options o = rounding("nf4", in("merged"));
    dart_compression *c;
    if (compress(in("tuned-f32"), &o, NULL, &c) != DART_OK) fail_msg("%s", dart_error_text());
    dart_bundle tuned, merged;
    opened(in("tuned-f32"), NULL, &tuned);
    opened_as(in("merged"), "f32", &merged);
    for (uint32_t w = 0, i = 0; w < tuned.model->weights; w++) {
        const dart_weight *weight = &tuned.model->weight[w].weight;
        if ((int)w == tuned.model->embedding) continue;
        const dart_compress_row *row = dart_compression_row(c, i++);
        float *x = matrix(&tuned, w), *y = matrix(&merged, w);
        double error, whole;
        assert_int_equal(
            dart_decompose_error(weight, x, y, (dart_metric){0}, &error, &whole), DART_OK);
        if (!(fabs(error / whole - row->error) < 1e-6))
            fail_msg("%s: %g, the table says %g", row->name, error / whole, row->error);
        free(x);
        free(y);
    }
    dart_bundle_free(&tuned);
    dart_bundle_free(&merged);
    dart_compression_free(c);
}

/* The tied table is the head too, whose inputs there are. */
static void a_tied_table_is_rounded_as_the_head(void **state)
{
    (void)state;
    dart_compress_options o = rounding("q4_0", in("table"));
    o.modules = "tok_emb";
    dart_compression *c = compressed(&o);
    assert_int_equal(dart_compression_rows(c), 1);
    const dart_compress_row *row = dart_compression_row(c, 0);
    assert_string_equal(row->name, "tok_emb");
    assert_true(row->output_error < row->plain_output_error);
    dart_compression_free(c);
    dart_bundle wide, packed;
    opened_as(in("table"), "f32", &wide);
    opened_as(in("table"), "q4_0", &packed);
    const uint32_t w = (uint32_t)wide.model->embedding;
    float *x = matrix(&wide, w), *y = matrix(&packed, w);
    expect_same(y, x, (size_t)LAB_VOCAB * LAB_DIM, "tok_emb");
    free(x);
    free(y);
    dart_bundle_free(&wide);
    dart_bundle_free(&packed);
}

/* What is refused, before anything is written. */
static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    const char *no = in("refused");
    const struct {
        dart_compress_options o;
        dart_status wanted;
        const char *says;
    } cases[] = {{{.target = 2}, DART_USAGE, "leave out --target"},
        {{.epsilon = 0.1}, DART_USAGE, "leave out --epsilon"},
        {{.ranks = "found"}, DART_USAGE, "leave out --ranks"},
        {{.metric = "outputs"}, DART_USAGE, "leave out --metric"},
        {{.calibrate = ""}, DART_USAGE, "give one with --calibrate"},
        {{.calibrate = in("no-such-text")}, DART_INPUT, "no-such-text"},
        {{.dtype = ""}, DART_USAGE, "one of nf4, q4_0, q8_0 (--base-dtype), got 'f32'"},
        {{.dtype = "f16"}, DART_USAGE, "got 'f16'"},
        {{.dtype = "nf4_double"}, DART_USAGE, "got 'nf4_double'"},
        {{.dtype = "file"}, DART_USAGE, "got 'file'"},
        {{.modules = "blocks.*.mlp.down"}, DART_INPUT, "no whole blocks of nf4, which have 64"},
        {{.modules = "blocks.*.mlp.gaet"}, DART_INPUT, "mlp.gate"},
        {{.out = in("nf4")}, DART_INPUT, "has files in it"},
        {{.out = base_path}, DART_INPUT, "is a file"}};
    dart_compression *c;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_compress_options o = cases[i].o;
        dart_recipe *over = opening();
        o.method = "gptq";
        if (!o.dtype) o.dtype = "nf4";
        if (!o.calibrate) o.calibrate = text_path;
        if (!o.out) o.out = no;
        expect(compress(base_path, &o, over, &c), cases[i].wanted, cases[i].says);
        assert_null(c);
        assert_false(dart_file_exists(no));
        dart_recipe_free(over);
    }
    dart_recipe *over = opening();
    set(over, "base_embedding_dtype", "q4_1");
    dart_compress_options o = rounding("nf4", no);
    expect(compress(base_path, &o, over, &c), DART_USAGE, "leave out base_embedding_dtype");
    dart_recipe_free(over);
    o = (dart_compress_options){.target = 2, .dtype = "nf4", .out = no};
    expect(compress(base_path, &o, NULL, &c), DART_USAGE, "rounds no numbers");
    assert_false(dart_file_exists(no));
}

/* ---- failures ---- */

static void failures_leave_nothing(void **state)
{
    (void)state;
    char memory[] = "/dev/shm/dart-gptq-XXXXXX", out[200]; /* fsync takes no time there */
    const bool fast = mkdtemp(memory) != NULL;
    unsigned long failed = 0;
    dart_recipe *over = opening();
    dart_compression *c;
    snprintf(out, sizeof out, "%s/failed", fast ? memory : folder);
    dart_compress_options o = rounding("nf4", out);
    o.modules = "blocks.0.attn.q";
    o.calibrate_tokens = 64;
    for (unsigned long at = 1;; at += at < 100 ? 7 : 41) {
        start_failing(at, false);
        dart_status status = compress(base_path, &o, over, &c);
        const unsigned long seen = stop_failing();
        if (status == DART_OK) assert_int_equal(dart_remove_tree(out), DART_OK);
        dart_compression_free(c);
        if (seen < at) {
            assert_int_equal(status, DART_OK);
            break;
        }
        if (status == DART_OK) continue;
        if (status != DART_MEMORY || dart_file_exists(out))
            fail_msg("allocation %lu: status %d (%s)%s", at, (int)status, dart_error_text(),
                dart_file_exists(out) ? ", files are left" : "");
        failed++;
    }
    print_message("%lu allocations failed\n", failed);
#ifndef __SANITIZE_ADDRESS__
    assert_true(failed > 30);
#endif
    /* the disk is full; a folder that was there stays */
    assert_int_equal(dart_mkdirs(out), DART_OK);
    const struct rlimit before = full_disk(1000);
    const dart_status status = compress(base_path, &o, over, &c);
    room_again(before);
    assert_int_equal(status, DART_IO);
    assert_int_equal(rmdir(out), 0);
    dart_recipe_free(over);
    if (fast) assert_int_equal(rmdir(memory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(outputs_are_nearer_than_plain_rounding),
        cmocka_unit_test(it_is_what_an_oracle_does),
        cmocka_unit_test(independent_inputs_are_rounded_plainly),
        cmocka_unit_test(packing_loses_nothing), cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(bad_moments_are_refused), cmocka_unit_test(models_are_bases_again),
        cmocka_unit_test(training_goes_on_beside_it), cmocka_unit_test(adapters_are_merged_first),
        cmocka_unit_test(a_tied_table_is_rounded_as_the_head),
        cmocka_unit_test(what_cannot_be_is_refused), cmocka_unit_test(failures_leave_nothing)};
    return cmocka_run_group_tests(tests, set_up_models, tear_down);
}
