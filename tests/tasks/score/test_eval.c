/* Evaluation against a direct computation: each token's probability from logits of an explicit
 * context, for windows side by side and for overlapping ones; and what the result says of itself.
 */
#include "dart.h"
#include "handles.h"
#include "train.h"
#include "file.h"
#include "rng.h"
#include "bundle.h"
#include "setup.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { CONTEXT = 12 };
static char folder[] = "/tmp/dart-eval-XXXXXX";
static char text_path[64], run_path[64];

/* Sentences whose second half depends on the first. */
static void write_text(const char *path)
{
    static const char *const who[] = {"cat", "dog", "man", "bird", "child"};
    static const char *const does[] = {"sees", "likes", "finds", "follows"};
    char *text = malloc(400 * 80);
    size_t n = 0;
    for (unsigned i = 0; i < 400; i++) {
        uint32_t w[4];
        dart_philox(5, DART_STREAM_TEST, i, w);
        const char *first = who[w[0] % 5], *second = who[w[1] % 5];
        n += (size_t)sprintf(text + n, "the %s %s the %s and the %s the %s\n", first,
            does[w[2] % 4], second, second, first);
    }
    assert_int_equal(dart_file_write_sync(path, text, n), DART_OK);
    free(text);
}

static dart_recipe *recipe_of(const char *const (*set)[2], size_t count)
{
    dart_recipe *recipe;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < count; i++)
        if (dart_recipe_set(recipe, set[i][0], set[i][1]) != DART_OK)
            fail_msg("%s: %s", set[i][0], dart_error_text());
    return recipe;
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(text_path, sizeof text_path, "%s/text.txt", folder);
    snprintf(run_path, sizeof run_path, "%s/run", folder);
    write_text(text_path);
    const char *const set[][2] = {{"layers", "2"}, {"d_model", "16"}, {"heads", "2"},
        {"context", "12"}, {"batch_size", "8"}, {"linear", "tt"}, {"rank", "4"},
        {"linear_modes", "2"}, {"max_steps", "80"}, {"lr", "1e-2"}, {"select", "none"},
        {"save_steps", "0"}, {"dropout", "0"}, {"device", "cpu"}, {"text", text_path},
        {"out", run_path}};
    dart_recipe *recipe = recipe_of(set, sizeof set / sizeof *set);
    dart_result *result = calloc(1, sizeof *result);
    if (dart_train_run(recipe, NULL, result) != DART_OK) fail_msg("%s", dart_error_text());
    assert_string_equal(result->protocol.unit, "word");
    assert_int_equal(result->protocol.stride, CONTEXT);
    free(result);
    dart_recipe_free(recipe);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

/* A trained model ready to give logits, and its corpus. */
typedef struct oracle {
    dart_bundle bundle;
    dart_corpus corpus;
    dart_device *device;
    dart_session *session;
    int32_t *index;
    uint32_t *cursor;
} oracle;

static void oracle_open(oracle *o)
{
    dart_recipe *none;
    dart_session_options options;
    memset(o, 0, sizeof *o);
    dart_bundle *b = &o->bundle;
    assert_int_equal(dart_recipe_new(&none), DART_OK);
    assert_int_equal(dart_bundle_open(run_path, none, (dart_note){0}, b), DART_OK);
    dart_recipe_free(none);
    assert_int_equal(dart_corpus_for(&b->set, b->stored, &o->corpus), DART_OK);
    assert_int_equal(dart_device_for(&b->set, &o->device), DART_OK);
    assert_int_equal(dart_session_options_from(&b->set, b->vocab->size, &options), DART_OK);
    options.train = options.eval = false;
    options.logits = true;
    options.batch = 1;
    options.reg = NULL;
    assert_int_equal(dart_session_new(o->device, NULL, b->model, &options, &o->session), DART_OK);
    assert_int_equal(dart_session_write(o->session, b->param, b->frozen, NULL), DART_OK);
    o->index = calloc(b->vocab->size + 1 + CONTEXT, sizeof *o->index);
    o->cursor = calloc(b->vocab->size, sizeof *o->cursor);
}

static void oracle_close(oracle *o)
{
    dart_session_free(o->session);
    dart_device_close(o->device);
    dart_bundle_free(&o->bundle);
    dart_corpus_free(&o->corpus);
    free(o->index);
    free(o->cursor);
}

/* Of one split: the mean of -log p, and the parts of its tokens that were the likeliest and among
 * the five likeliest. */
typedef struct figures {
    double nll, top1, top5;
} figures;

/* Adds token j, after the tokens from `from` on that come before it, in double. */
static void add_token(oracle *o, int split, uint64_t from, uint64_t j, figures *out)
{
    const int32_t *tokens = o->corpus.tokens[split];
    const uint32_t vocab = o->corpus.vocab.size;
    int32_t window[CONTEXT];
    uint64_t last = j - from; /* the position whose logits are for token j */
    for (uint64_t t = 0; t < CONTEXT; t++) {
        uint64_t before = from + t; /* tokens before the one that position t predicts */
        window[t] = t <= last && before ? tokens[before - 1] : (int32_t)o->corpus.vocab.start;
    }
    dart_scatter_index(window, CONTEXT, vocab, o->cursor, o->index);
    assert_int_equal(dart_session_logits(o->session, window, o->index), DART_OK);
    const float *logit = o->session->logits + last * o->session->logit_columns;
    double top = logit[0], sum = 0, rank = -1;
    for (uint32_t v = 1; v < vocab; v++) top = fmax(top, logit[v]);
    for (uint32_t v = 0; v < vocab; v++) sum += exp(logit[v] - top);
    for (uint32_t v = 0; v < vocab; v++) rank += logit[v] >= logit[tokens[j]];
    out->nll += log(sum) + top - logit[tokens[j]];
    out->top1 += rank < 1;
    out->top5 += rank < 5;
}

static figures direct(oracle *o, int split, uint64_t stride)
{
    const double count = (double)o->corpus.count[split];
    figures sum = {0};
    for (uint64_t j = 0; j < o->corpus.count[split]; j++) {
        /* token j belongs to the first window that reaches it */
        uint64_t window = j < CONTEXT ? 0 : (j - CONTEXT) / stride + 1;
        add_token(o, split, window * stride, j, &sum);
    }
    return (figures){sum.nll / count, sum.top1 / count, sum.top5 / count};
}

static void test_direct(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        uint64_t stride;
    } cases[] = {{"0", CONTEXT}, {"12", CONTEXT}, {"5", 5}, {"1", 1}};
    oracle o;
    double nll[4];
    oracle_open(&o);
    assert_true(o.corpus.count[DART_VALID] > 150 && o.corpus.count[DART_TEST] > 150);
    for (size_t i = 0; i < 4; i++) {
        dart_eval_result r;
        const char *const set[][2] = {{"eval_stride", cases[i].set}};
        dart_recipe *over = recipe_of(set, 1);
        assert_int_equal(handle_eval(run_path, over, &r), DART_OK);
        dart_recipe_free(over);
        const figures valid = direct(&o, DART_VALID, cases[i].stride);
        const figures test = direct(&o, DART_TEST, cases[i].stride);
        printf("stride %s: valid %.7f, directly %.7f; test %.7f, directly %.7f\n", cases[i].set,
            r.valid_nll, valid.nll, r.test_nll, test.nll);
        /* single precision logits; sums over some hundred tokens */
        assert_true(fabs(r.valid_nll - valid.nll) < 2e-6 * valid.nll);
        assert_true(fabs(r.test_nll - test.nll) < 2e-6 * test.nll);
        /* a token may change places with one that is as likely to the last digit */
        const double one = 1.5 / (double)o.corpus.count[DART_VALID];
        assert_true(fabs(r.valid_top1 - valid.top1) < one && fabs(r.valid_top5 - valid.top5) < one);
        assert_true(fabs(r.test_top1 - test.top1) < one && fabs(r.test_top5 - test.top5) < one);
        assert_true(r.test_top1 > 0.2 && r.test_top1 < r.test_top5 && r.test_top5 < 1);
        assert_true(fabs(log(r.valid_ppl) - r.valid_nll) < 1e-12);
        assert_int_equal(r.valid_tokens, o.corpus.count[DART_VALID]);
        assert_int_equal(r.test_tokens, o.corpus.count[DART_TEST]);
        assert_int_equal(r.protocol.stride, cases[i].stride);
        assert_int_equal(r.protocol.context, CONTEXT);
        assert_int_equal(r.protocol.valid_tokens, r.valid_tokens);
        nll[i] = r.valid_nll + r.test_nll;
    }
    assert_true(nll[0] == nll[1]);
    /* the strides measure different things, beyond what the comparison allows */
    assert_true(fabs(nll[2] - nll[0]) > 1e-4 && fabs(nll[3] - nll[2]) > 1e-4);
    oracle_close(&o);
}

/* During training the recipe's stride holds too; a stride beyond the context is refused. */
static void test_training(void **state)
{
    (void)state;
    char out[64];
    snprintf(out, sizeof out, "%s/short", folder);
    const char *const set[][2] = {{"layers", "1"}, {"d_model", "16"}, {"heads", "2"},
        {"context", "12"}, {"batch_size", "8"}, {"linear", "dense"}, {"max_steps", "5"},
        {"select", "none"}, {"level", "char"}, {"device", "cpu"}, {"text", text_path}, {"out", out},
        {"eval_stride", "4"}};
    dart_recipe *recipe = recipe_of(set, sizeof set / sizeof *set);
    dart_result *result = calloc(1, sizeof *result);
    dart_eval_result r;
    assert_int_equal(dart_train_run(recipe, NULL, result), DART_OK);
    assert_string_equal(result->protocol.unit, "character");
    assert_int_equal(result->protocol.stride, 4);
    dart_recipe *none;
    assert_int_equal(dart_recipe_new(&none), DART_OK);
    assert_int_equal(handle_eval(out, none, &r), DART_OK); /* the stride is in the recipe */
    assert_int_equal(r.protocol.stride, 4);
    assert_true(fabs(r.valid_ppl - result->row[result->rows - 1].valid_ppl) < 1e-9 * r.valid_ppl);
    assert_int_equal(dart_recipe_set(none, "eval_stride", "13"), DART_OK);
    assert_int_equal(handle_eval(out, none, &r), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "--eval-stride"));
    dart_recipe_free(none);
    dart_recipe_free(recipe);
    free(result);
}

/* Values that are no numbers, as a checkpoint of an earlier version may have them, are said to be
 * that: never a perplexity. */
static void test_not_finite(void **state)
{
    (void)state;
    char path[160], from[160];
    dart_checkpoint c;
    dart_eval_result r;
    snprintf(path, sizeof path, "%s/poisoned", folder);
    assert_int_equal(dart_mkdirs(path), DART_OK);
    snprintf(from, sizeof from, "%s/checkpoints", run_path);
    assert_int_equal(dart_checkpoint_newest(from, (dart_note){0}, NULL, NULL, &c), DART_OK);
    for (uint32_t i = 0; i < c.files; i++)
        if (!strcmp(c.file[i].name, "model.safetensors"))
            memset(c.file[i].data + c.file[i].size - 400, 0xff, 400);
    assert_int_equal(
        dart_checkpoint_write(path, 1, c.file, c.files, 2, DART_CHECKPOINT_NONE, (dart_note){0}),
        DART_OK);
    dart_checkpoint_close(&c);
    strcat(path, "/step-00000001");
    assert_int_equal(handle_eval(path, NULL, &r), DART_DIVERGED);
    assert_non_null(strstr(dart_error_text(), "valid split is not a finite number"));
    assert_true(r.valid_ppl == 0 && r.valid_tokens == 0);
}

static char *file_of(const char *run, const char *name, size_t *size)
{
    char path[160], *data;
    snprintf(path, sizeof path, "%s/%s", run, name);
    assert_int_equal(dart_file_read(path, &data, size), DART_OK);
    return data;
}

/* Tokens in memory and tokens from a mapped file make the same run; a run that was begun with the
 * one goes on with the other. */
static void test_token_file(void **state)
{
    (void)state;
    static const char *const files[] = {"metrics.jsonl",
        "checkpoints/step-00000012/model.safetensors",
        "checkpoints/step-00000012/optimizer.safetensors"};
    char out[2][64];
    setenv("XDG_CACHE_HOME", folder, 1);
    for (int mapped = 0; mapped < 2; mapped++) {
        snprintf(out[mapped], sizeof out[mapped], "%s/mapped-%d", folder, mapped);
        const char *const set[][2] = {{"layers", "1"}, {"d_model", "16"}, {"heads", "2"},
            {"context", "12"}, {"batch_size", "8"}, {"linear", "tt"}, {"rank", "4"},
            {"linear_modes", "2"}, {"max_steps", "12"}, {"select", "none"}, {"eval_steps", "5"},
            {"save_steps", "6"}, {"device", "cpu"}, {"text", text_path}, {"out", out[mapped]},
            {"token_file", mapped ? "true" : "false"}};
        dart_recipe *recipe = recipe_of(set, sizeof set / sizeof *set);
        dart_result *result = calloc(1, sizeof *result);
        if (dart_train_run(recipe, NULL, result) != DART_OK) fail_msg("%s", dart_error_text());
        if (mapped) {
            char newest[160];
            snprintf(newest, sizeof newest, "%s/checkpoints/step-00000012", out[mapped]);
            assert_int_equal(dart_remove_tree(newest), DART_OK);
            assert_int_equal(dart_recipe_set(recipe, "resume", "true"), DART_OK);
            assert_int_equal(dart_recipe_set(recipe, "token_file", "false"), DART_OK);
            if (dart_train_run(recipe, NULL, result) != DART_OK) fail_msg("%s", dart_error_text());
        }
        free(result);
        dart_recipe_free(recipe);
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t n[2];
        char *data[2] = {file_of(out[0], files[i], &n[0]), file_of(out[1], files[i], &n[1])};
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(data[0], data[1], n[0]);
        free(data[0]);
        free(data[1]);
    }
    char tokens[96];
    snprintf(tokens, sizeof tokens, "%s/dart-llm/tokens", folder);
    assert_true(dart_file_exists(tokens));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_direct),
        cmocka_unit_test(test_not_finite), cmocka_unit_test(test_training),
        cmocka_unit_test(test_token_file)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
