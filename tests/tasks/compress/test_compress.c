/* Compressed models: sizes and errors are those of the table, what is written opens and exports,
 * what cannot be is refused before anything is written. */
/* both headers have something of this name */
#define allocations failing_allocations
#include "full_disk.h"
#include "failing_alloc.h"
#undef allocations
#include "compress_lab.h"
#include "decompose.h"
#include <math.h>

enum { FIRST = 8 };

/* Rows against what was written: sizes, errors, and everything else as it was. */
static void check_run(const dart_compression *c, const char *path)
{
    dart_recipe *over = opening();
    dart_bundle base, run;
    uint64_t before, after, saved = 0, words = 0;
    opened(base_path, over, &base);
    opened(path, NULL, &run);
    uint32_t rows = 0;
    for (uint32_t w = 0; w < base.model->weights; w++) {
        const dart_model_weight *a = &base.model->weight[w], *b = &run.model->weight[w];
        float *x = matrix(&base, w), *y = matrix(&run, w);
        double error, whole;
        assert_string_equal(a->weight.name, b->weight.name);
        assert_int_equal(
            dart_decompose_error(&a->weight, x, y, (dart_metric){0}, &error, &whole), DART_OK);
        error /= whole;
        const dart_compress_row *row = dart_compression_row(c, rows);
        if (row && !strcmp(row->name, a->weight.name)) {
            rows++;
            assert_int_equal(row->before, (uint64_t)a->weight.out * a->weight.in);
            const bool network = b->layout.bonds > 0;
            assert_true(network == (*row->ranks != 0));
            assert_int_equal(
                row->after, network ? dart_layout_words(&b->layout, false) : row->before);
            assert_true(network ? row->after < row->before : row->error == 0);
            if (!(fabs(error - row->error) < 1e-6))
                fail_msg("%s: %g, the table says %g", row->name, error, row->error);
            saved += row->before - row->after;
        } else {
            assert_true(error == 0 && !b->layout.bonds);
        }
        free(x);
        free(y);
    }
    assert_int_equal(rows, dart_compression_rows(c));
    for (uint32_t p = 0; p < run.model->params; p++)
        words += dart_shape_words(&run.model->param[p].shape);
    dart_compression_size(c, &before, &after);
    assert_int_equal(after, words);
    assert_int_equal(before - after, saved);
    /* vectors are the base's */
    for (uint32_t p = 0; p < run.model->params; p++)
        for (uint32_t q = 0; q < base.model->params; q++) {
            const dart_param *x = &run.model->param[p], *y = &base.model->param[q];
            if (x->weight >= 0 || strcmp(x->name, y->name)) continue;
            assert_true(x->region == DART_REGION_PARAM);
            assert_memory_equal(run.param + x->offset,
                (y->region == DART_REGION_FROZEN ? base.frozen : base.param) + y->offset,
                dart_shape_words(&x->shape) * sizeof(float));
        }
    dart_bundle_free(&base);
    dart_bundle_free(&run);
    dart_recipe_free(over);
}

static const char *const ranks[] = {"uniform", "found", "threshold"};

static void targets_are_met(void **state)
{
    (void)state;
    for (int m = 0; m < 3; m++)
        for (int r = 0; r < 3; r++) {
            char out[200];
            uint64_t before = 0, after = 0;
            snprintf(out, sizeof out, "%s/%s-%s", folder, methods[m], ranks[r]);
            const dart_compress_options o = {.method = methods[m],
                .ranks = ranks[r],
                .target = m == 1 ? 1.5 : 2,
                .modules = r ? "attention, mlp" : NULL,
                .out = out};
            dart_compression *c = compressed(&o);
            for (uint32_t i = 0; i < dart_compression_rows(c); i++) {
                const dart_compress_row *row = dart_compression_row(c, i);
                before += row->before;
                after += row->after;
                assert_true(isnan(row->output_error));
                if (!r) assert_true((double)row->after * o.target <= (double)row->before);
            }
            assert_int_equal(dart_compression_rows(c), 14);
            if ((double)after * o.target > (double)before)
                fail_msg("%s %s: %llu of %llu", methods[m], ranks[r], (unsigned long long)after,
                    (unsigned long long)before);
            /* and not far below it */
            if (r == 1) assert_true((double)after * o.target > 0.95 * (double)before);
            check_run(c, out);
            dart_compression_free(c);
        }
}

static void errors_are_held(void **state)
{
    (void)state;
    for (int m = 0; m < 3; m++) {
        char out[200];
        uint32_t kept = 0;
        snprintf(out, sizeof out, "%s/%s-epsilon", folder, methods[m]);
        dart_compression *c = compressed(
            &(dart_compress_options){.method = methods[m], .epsilon = m ? 0.75 : 0.4, .out = out});
        for (uint32_t i = 0; i < dart_compression_rows(c); i++) {
            const dart_compress_row *row = dart_compression_row(c, i);
            kept += !*row->ranks;
            assert_true(row->error <= (m ? 0.75 : 0.4));
        }
        print_message("%s: %u stay as they are\n", methods[m], kept);
        if (m == 0) assert_true(kept > 0 && kept < 14);
        check_run(c, out);
        dart_compression_free(c);
    }
}

/* A tied embedding is the head too: both are the network. */
static void tables_become_networks(void **state)
{
    (void)state;
    for (int m = 0; m < 3; m++) {
        char out[200];
        snprintf(out, sizeof out, "%s/%s-table", folder, methods[m]);
        dart_compression *c = compressed(&(dart_compress_options){
            .method = methods[m], .target = 2, .modules = "tok_emb", .out = out});
        assert_int_equal(dart_compression_rows(c), 1);
        assert_string_equal(dart_compression_row(c, 0)->name, "tok_emb");
        assert_true(*dart_compression_row(c, 0)->ranks);
        check_run(c, out);
        dart_compression_free(c);
        dart_bundle run;
        opened(out, NULL, &run);
        assert_true(run.model->config.tied && run.model->head == run.model->embedding);
        dart_bundle_free(&run);
    }
}

/* Of the first tokens; caller frees. */
static float *logits(const char *path, uint32_t *out_vocab)
{
    dart_llm *llm;
    dart_context *context;
    dart_recipe *over = opening();
    const dart_llm_options o = {.size = sizeof o, .overrides = strstr(path, ".") ? over : NULL};
    if (dart_llm_open(path, &o, &llm) != DART_OK) fail_msg("%s: %s", path, dart_error_text());
    if (dart_context_new(llm, NULL, &context) != DART_OK) fail_msg("%s", dart_error_text());
    *out_vocab = dart_llm_vocab_size(llm);
    float *out = calloc((size_t)FIRST * *out_vocab, sizeof *out);
    for (int32_t i = 0; i < FIRST; i++) {
        const int32_t id = 5 + 17 * i;
        assert_int_equal(dart_context_feed(context, &id, 1), DART_OK);
        memcpy(out + i * *out_vocab, dart_context_logits(context), *out_vocab * sizeof *out);
    }
    dart_context_free(context);
    dart_llm_close(llm);
    dart_recipe_free(over);
    return out;
}

/* What others read of it computes the same: the networks are multiplied out. */
static void exports_compute_the_same(void **state)
{
    (void)state;
    static const char *const runs[] = {"svd-found", "tt-uniform", "ttm-table"};
    for (int r = 0; r < 3; r++)
        for (int gguf = 0; gguf < 2; gguf++) {
            char out[200], file[256];
            uint32_t vocab, other;
            dart_export_result result = {.size = sizeof result};
            snprintf(out, sizeof out, "%s/%s.%s", folder, runs[r], gguf ? "gguf" : "hf");
            snprintf(file, sizeof file, "%s%s", out, gguf ? "/model.gguf" : "");
            const dart_export_options o = {
                .size = sizeof o, .format = gguf ? "gguf" : "hf", .out = out};
            if (dart_export(in(runs[r]), NULL, &o, NULL, &result) != DART_OK)
                fail_msg("%s: %s", runs[r], dart_error_text());
            float *x = logits(in(runs[r]), &vocab), *y = logits(file, &other);
            double most = 0, worst = 0;
            assert_int_equal(vocab, other);
            for (uint32_t i = 0; i < FIRST * vocab; i++) {
                most = fmax(most, fabs(x[i]));
                worst = fmax(worst, fabs((double)x[i] - y[i]));
            }
            if (!(worst < 1e-5 * most)) fail_msg("%s: off by %g of %g", file, worst, most);
            free(x);
            free(y);
        }
}

/* Near to the outputs: by the definition of their error, nearer than what is near to the entries.
 */
static void calibration_brings_outputs_nearer(void **state)
{
    (void)state;
    const char *const out[2] = {in("plain"), in("aware")};
    dart_compression *c[2];
    dart_recipe *over = opening();
    dart_bundle base, plain;
    dart_covariances inputs;
    dart_compress_options o = {.method = "svd", .target = 2, .out = out[0]};
    c[0] = compressed(&o);
    o.out = out[1];
    o.calibrate = text_path;
    o.calibrate_tokens = 2000;
    c[1] = compressed(&o);
    check_run(c[1], out[1]);
    opened(base_path, over, &base);
    opened(out[0], NULL, &plain);
    dart_compress_fate fate[64] = {0};
    for (uint32_t w = 0; w < base.model->weights; w++)
        if ((int)w != base.model->embedding) fate[w] = DART_FATE_NETWORK;
    assert_int_equal(
        dart_compress_calibrate(&base, &o, fate, false, (dart_note){0}, &inputs), DART_OK);
    assert_true(inputs.rows >= 2000 && inputs.rows < 2100);
    for (uint32_t w = 0, i = 0; w < base.model->weights; w++) {
        const dart_compress_row *row = dart_compression_row(c[1], i);
        if (fate[w] != DART_FATE_NETWORK) continue;
        const dart_covariance *of = &inputs.of[inputs.place[w]];
        double *root, damping, other, whole;
        float *x = matrix(&base, w), *y = matrix(&plain, w);
        assert_int_equal(dart_metric_root(of->size, of->sum, &root, &damping), DART_OK);
        assert_int_equal(dart_decompose_error(&base.model->weight[w].weight, x, y,
                             (dart_metric){.in = root}, &other, &whole),
            DART_OK);
        other /= whole;
        if (!(row->output_error < other) || !(row->error > dart_compression_row(c[0], i)->error))
            fail_msg(
                "%s: %g of its outputs, %g without a text", row->name, row->output_error, other);
        free(x);
        free(y);
        free(root);
        i++;
    }
    dart_covariances_free(&inputs);
    dart_bundle_free(&base);
    dart_bundle_free(&plain);
    for (int k = 0; k < 2; k++) dart_compression_free(c[k]);
    o.out = in("none");
    o.calibrate = in("no-such-text");
    expect(compress(base_path, &o, over, &c[0]), DART_INPUT, "no-such-text");
    o.calibrate = tokenizer_path; /* a few thousand bytes, no lines */
    dart_recipe_free(over);
    over = opening();
    set(over, "batch_size", "4096");
    o.calibrate = text_path;
    expect(compress(base_path, &o, over, &c[0]), DART_INPUT, "fewer than a batch");
    assert_false(dart_file_exists(in("none")));
    dart_recipe_free(over);
}

/* What is refused, before anything is written. */
static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    const char *no = in("refused"), *full = in("svd-found");
    const struct {
        dart_compress_options o;
        dart_status wanted;
        const char *says;
    } cases[] = {{{.target = 2, .out = no, .method = "cp"}, DART_USAGE, "known are svd, tt, ttm"},
        {{.target = 2, .out = no, .ranks = "best"}, DART_USAGE, "known are uniform, found"},
        {{.out = no}, DART_USAGE, "either a target"},
        {{.target = 2, .epsilon = 0.1, .out = no}, DART_USAGE, "not both"},
        {{.target = 2, .metric = "flops", .out = no}, DART_USAGE, "known are entries, outputs"},
        {{.target = 2, .metric = "loss", .out = no}, DART_USAGE, "give one with --calibrate"},
        {{.target = 2, .metric = "entries", .calibrate = text_path, .out = no}, DART_USAGE,
            "reads no text"},
        {{.target = 2, .metric = "loss", .modules = "tok_emb", .calibrate = text_path, .out = no},
            DART_INPUT, "tok_emb is a table or the head"},
        {{.target = 1, .out = no}, DART_USAGE, "a target of 1"},
        {{.target = NAN, .out = no}, DART_USAGE, "a target of"},
        {{.epsilon = 1.5, .out = no}, DART_USAGE, "an epsilon of 1.5"},
        {{.epsilon = 0.1, .ranks = "found", .out = no}, DART_USAGE, "each matrix has its own"},
        {{.target = 2}, DART_USAGE, "needs a folder"},
        {{.target = 2, .out = full}, DART_INPUT, "has files in it"},
        {{.target = 2, .out = base_path}, DART_INPUT, "is a file"},
        {{.target = 2, .out = no, .modules = "blocks.*.mlp.gaet"}, DART_INPUT, "mlp.gate"},
        {{.target = 2, .out = no, .modules = "blocks.[q"}, DART_INPUT, "blocks.[q"},
        {{.target = 100, .out = no}, DART_INPUT, "at rank 1 it has"},
        {{.target = 100, .ranks = "found", .out = no}, DART_INPUT, "cannot have"},
        {{.target = 100, .ranks = "threshold", .out = no}, DART_INPUT, "cannot have"},
        {{.epsilon = 1e-4, .out = no}, DART_INPUT, "no matrix becomes smaller"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_compression *c;
        dart_recipe *over = opening();
        expect(compress(base_path, &cases[i].o, over, &c), cases[i].wanted, cases[i].says);
        assert_null(c);
        assert_false(dart_file_exists(no));
        dart_recipe_free(over);
    }
    dart_compression *c;
    const dart_compress_options o = {.target = 2, .out = no};
    expect(compress(in("nothing"), &o, NULL, &c), DART_INPUT, "nothing");
    assert_false(dart_file_exists(no));
}

/* Adapters are merged first; the base of the run is not lost by one that is given. */
static void adapters_are_merged_first(void **state)
{
    (void)state;
    watch w = {0};
    dart_bundle tuned, base, run;
    dart_recipe *over = opening(), *recipe = tuning("lora", "cpu", in("lora"));
    if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    dart_compression *c;
    const dart_compress_options o = {.target = 2, .modules = "blocks.0.*", .out = in("merged")};
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    set(recipe, "base", in("lora"));
    if (compress(in("lora"), &o, recipe, &c) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    dart_compression_free(c);
    opened(in("lora"), NULL, &tuned);
    opened(base_path, over, &base);
    opened(in("merged"), NULL, &run);
    uint32_t moved = 0;
    for (uint32_t v = 0; v < run.model->weights; v++) {
        const dart_weight *weight = &run.model->weight[v].weight;
        const size_t bytes = (size_t)weight->out * weight->in * sizeof(float);
        float *x = matrix(&tuned, v), *y = matrix(&run, v), *z = matrix(&base, v);
        if (!run.model->weight[v].layout.bonds) assert_memory_equal(x, y, bytes);
        moved += memcmp(x, z, bytes) != 0;
        free(x);
        free(y);
        free(z);
    }
    assert_int_equal(moved, 14);
    dart_bundle_free(&tuned);
    dart_bundle_free(&base);
    dart_bundle_free(&run);
    dart_recipe_free(over);
}

/* Whatever becomes of single weights, the recipe says it: of 280 in 40 layers, every other one, or
 * hardly any. */
static void recipes_name_every_weight(void **state)
{
    (void)state;
    static const char *const keys[][2] = {{"arch", "llama"}, {"layers", "40"}, {"d_model", "16"},
        {"heads", "2"}, {"d_ff", "24"}, {"tied_head", "false"}};
    dart_vocab vocab[2] = {{.size = 64}};
    dart_bundle from = {.vocab = &vocab[0], .source_vocab = &vocab[1]};
    assert_int_equal(dart_recipe_new(&from.recipe), DART_OK);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        set(from.recipe, keys[i][0], keys[i][1]);
    dart_recipe_settings(from.recipe, &from.set);
    assert_int_equal(dart_bundle_model(&from, NULL, NULL), DART_OK);
    const uint32_t weights = from.model->weights;
    assert_int_equal(weights, 282);
    for (unsigned part = 0; part <= 8; part++) {
        dart_compress_fate fate[282];
        dart_recipe *recipe;
        dart_settings made;
        dart_model_config config;
        dart_model *model;
        for (uint32_t w = 0; w < weights; w++) {
            uint32_t word[4];
            dart_philox(part, DART_STREAM_TEST, w, word);
            fate[w] = word[0] % 8 < part ? DART_FATE_NETWORK
                      : word[1] % 2      ? DART_FATE_KEPT
                                         : DART_FATE_OTHER;
        }
        if (dart_compress_recipe(&from, "lowrank", fate, 5, &recipe) != DART_OK)
            fail_msg("%u: %s", part, dart_error_text());
        dart_recipe_settings(recipe, &made);
        assert_int_equal(dart_config_for(&made, from.vocab, from.source_vocab, &config), DART_OK);
        if (dart_model_new(&config, NULL, &model) != DART_OK)
            fail_msg("%u: %s", part, dart_error_text());
        for (uint32_t w = 0; w < weights; w++)
            if ((model->weight[w].layout.bonds > 0) != (fate[w] == DART_FATE_NETWORK))
                fail_msg("%u: %s is %s", part, model->weight[w].weight.name,
                    model->weight[w].weight.method->name);
        dart_model_free(model);
        dart_recipe_free(recipe);
    }
    dart_bundle_free(&from);
}

/* ---- failures ---- */

static void failures_leave_nothing(void **state)
{
    (void)state;
    dart_bundle bundle;
    dart_recipe *over = opening();
    char memory[] = "/dev/shm/dart-compress-XXXXXX", out[200]; /* fsync takes no time there */
    const bool fast = mkdtemp(memory) != NULL;
    unsigned long failed = 0;
    snprintf(out, sizeof out, "%s/failed", fast ? memory : folder);
    opened(base_path, over, &bundle);
    const dart_compress_options o = {
        .size = sizeof o, .method = "tt", .target = 1.2, .modules = "blocks.0.attn.q", .out = out};
    for (unsigned long at = 1;; at += at < 400 ? 1 : 17) {
        dart_compression c;
        start_failing(at, false);
        dart_status status = dart_compress_bundle(&bundle, &o, (dart_note){0}, &c);
        const unsigned long seen = stop_failing();
        free(c.row);
        if (status == DART_OK) assert_int_equal(dart_remove_tree(out), DART_OK);
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
    assert_true(failed > 100);
#endif
    /* the disk is full; a folder that was there stays */
    dart_compression c;
    assert_int_equal(dart_mkdirs(out), DART_OK);
    const struct rlimit before = full_disk(1000);
    dart_status status = dart_compress_bundle(&bundle, &o, (dart_note){0}, &c);
    room_again(before);
    free(c.row);
    assert_int_equal(status, DART_IO);
    assert_int_equal(rmdir(out), 0);
    dart_bundle_free(&bundle);
    dart_recipe_free(over);
    if (fast) assert_int_equal(rmdir(memory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(targets_are_met),
        cmocka_unit_test(errors_are_held), cmocka_unit_test(tables_become_networks),
        cmocka_unit_test(exports_compute_the_same),
        cmocka_unit_test(calibration_brings_outputs_nearer),
        cmocka_unit_test(what_cannot_be_is_refused), cmocka_unit_test(adapters_are_merged_first),
        cmocka_unit_test(recipes_name_every_weight), cmocka_unit_test(failures_leave_nothing)};
    return cmocka_run_group_tests(tests, set_up_models, tear_down);
}
