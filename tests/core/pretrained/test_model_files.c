/* GGUF files and checkpoints of llama2.c: settings, and every number of every tensor where it
 * belongs; allocations that fail while a model of any kind is opened. */
#include "failing_alloc.h"
#include "model_check.h"

static gguf_bytes llama_gguf(const lab *l, dart_block_id kind)
{
    gguf_bytes b = {0};
    put_head(&b, 3, l->count, LLAMA_VALUES);
    put_llama_values(&b);
    put_lab(&b, l, kind);
    return b;
}

static void test_gguf(void **state)
{
    (void)state;
    static const struct {
        dart_block_id kind;
        float tolerance; /* of numbers of a normal distribution */
    } kinds[] = {{DART_BLOCK_F32, 0}, {DART_BLOCK_F16, 0.002f}, {DART_BLOCK_Q8_0, 0.02f},
        {DART_BLOCK_Q4_1, 0.3f}};
    for (int head = 0; head < 2; head++) {
        lab l = {0};
        lab_llama_gguf(&l, head);
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            gguf_bytes b = llama_gguf(&l, kinds[i].kind);
            put_file("model.gguf", b.data, b.size);
            dart_pretrained *model = opened(path_of("model.gguf"));
            check_llama(model, TENSORS + (uint32_t)head);
            assert_int_equal(dart_pretrained_config_of(model)->tied, !head);
            compare(model, &l, 6, kinds[i].tolerance);
            /* raw rows by the order that the tensor says */
            const dart_pretrained_tensor *q = dart_pretrained_find(model, "blocks.0.attn.q");
            assert_true(q->format->id == kinds[i].kind && q->pairs == SIZE);
            float x[D], y[D];
            for (uint64_t r = 0; r < D; r++) {
                assert_int_equal(dart_pretrained_row(q, r), paired_row(r));
                const uint8_t *raw = q->data + dart_pretrained_row(q, r) * q->stride;
                assert_int_equal(dart_blocks_decode(q->format, raw, D, "raw", x), DART_OK);
                assert_int_equal(dart_pretrained_read(model, q->name, r, 1, y), DART_OK);
                assert_memory_equal(x, y, sizeof x);
            }
            dart_pretrained_close(model);
            free(b.data);
        }
        lab_free(&l);
    }
}

/* Frequencies as a tensor: those of Llama 3's rule are known again, others stay as they are. */
static void test_gguf_factors(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        lab l = {0};
        lab_llama_gguf(&l, false);
        lab_add(&l, PLAIN, SIZE / 2, 0, "-", "rope_freqs.weight");
        float *factor = l.tensor[l.count - 1].data;
        for (int i = 0; i < SIZE / 2; i++) {
            const double wave = 2 * 3.14159265358979 * pow(500000, 2.0 * i / SIZE);
            const double smooth = (8192 / wave - 1) / 3;
            factor[i] = (float)(wave < 2048   ? 1
                                : wave > 8192 ? 8
                                              : 1 / ((1 - smooth) / 8 + smooth));
        }
        if (own) factor[2] = 1.25f;
        gguf_bytes b = llama_gguf(&l, DART_BLOCK_F32);
        put_file("model.gguf", b.data, b.size);
        dart_pretrained *model = opened(path_of("model.gguf"));
        const dart_pretrained_rope *rope = &dart_pretrained_config_of(model)->rope;
        if (own) {
            assert_int_equal(rope->scaling, DART_PRETRAINED_FACTORS);
            assert_memory_equal(rope->factors, factor, 4 * SIZE / 2);
        } else {
            assert_true(rope->scaling == DART_PRETRAINED_LLAMA3 && rope->factor == 8);
            assert_true(rope->low == 1 && rope->high == 4 && rope->original_context == 8192);
            assert_true(!rope->factors && rope->base == 500000);
        }
        dart_pretrained_close(model);
        free(b.data);
        lab_free(&l);
    }
}

/* Any numbers of the rule: none, one or several pairs between those that stay and those that are
 * stretched in full. What is read gives the same factors. */
static void test_gguf_rules(void **state)
{
    (void)state;
    static const struct {
        double factor, low, high;
        uint32_t context;
    } rule[] = {{8, 1, 4, 16}, {8, 1, 4, 128}, {4, 2, 4, 128}, {2, 2, 8, 128}, {32, 1, 4, 8192},
        {4, 0.5, 8, 2048}, {2, 1, 64, 32768}, {16, 1, 1000, 65536}, {1, 1, 4, 8192}};
    enum { PAIRS = SIZE / 2 };
    for (size_t r = 0; r < sizeof rule / sizeof *rule; r++) {
        lab l = {0};
        lab_llama_gguf(&l, false);
        lab_add(&l, PLAIN, PAIRS, 0, "-", "rope_freqs.weight");
        float *factor = l.tensor[l.count - 1].data;
        double wave[PAIRS];
        for (int i = 0; i < PAIRS; i++) {
            wave[i] = 2 * 3.14159265358979 * pow(500000, 2.0 * i / SIZE);
            const double low = rule[r].low, high = rule[r].high, context = rule[r].context;
            const double smooth = (context / wave[i] - low) / (high - low);
            factor[i] =
                (float)(wave[i] < context / high  ? 1
                        : wave[i] > context / low ? rule[r].factor
                                                  : 1 / ((1 - smooth) / rule[r].factor + smooth));
        }
        gguf_bytes b = llama_gguf(&l, DART_BLOCK_F32);
        put_file("model.gguf", b.data, b.size);
        dart_pretrained *model = opened(path_of("model.gguf"));
        const dart_pretrained_rope *rope = &dart_pretrained_config_of(model)->rope;
        if (rule[r].factor == 1)
            assert_int_equal(rope->scaling, DART_PRETRAINED_PLAIN);
        else if (rope->scaling != DART_PRETRAINED_LLAMA3)
            fail_msg("rule %zu is not known again", r);
        for (int i = 0; i < PAIRS && rule[r].factor > 1; i++) {
            const double context = rope->original_context;
            const double smooth = (context / wave[i] - rope->low) / (rope->high - rope->low);
            const double got = wave[i] < context / rope->high ? 1
                               : wave[i] > context / rope->low
                                   ? rope->factor
                                   : 1 / ((1 - smooth) / rope->factor + smooth);
            if (!(fabs(got - factor[i]) <= 1e-5 * factor[i]))
                fail_msg("rule %zu, pair %d: %.9g instead of %.9g", r, i, got, (double)factor[i]);
        }
        dart_pretrained_close(model);
        free(b.data);
        lab_free(&l);
    }
}

static void test_llama2c(void **state)
{
    (void)state;
    for (int version = 0; version < 2; version++)
        for (int head = 0; head < 2; head++) {
            lab l = {0};
            lab_llama_gguf(&l, head);
            gguf_bytes b = llama2c_file(&l, version, head);
            put_file("model.bin", b.data, b.size);
            dart_pretrained *model = opened(path_of("model.bin"));
            check_llama(model, TENSORS + (uint32_t)head);
            assert_true(dart_pretrained_config_of(model)->rope.base == 10000);
            compare(model, &l, 10, 0);
            dart_pretrained_close(model);
            free(b.data);
            lab_free(&l);
        }
}

/* Each allocation of opening fails once: out of memory is said, and nothing is lost. */
static void test_memory(void **state)
{
    (void)state;
    lab l = {0};
    lab_llama_gguf(&l, false);
    gguf_bytes b = llama_gguf(&l, DART_BLOCK_F32);
    put_file("model.gguf", b.data, b.size);
    free(b.data);
    b = llama2c_file(&l, 0, false);
    put_file("model.bin", b.data, b.size);
    free(b.data);
    lab_free(&l);
    lab_llama(&l, true);
    put_config(llama_config);
    put_file("generation_config.json", "{\"eos_token_id\":3}", 18);
    lab_save(&l, 0, l.count, path_of("model.safetensors"));
    lab_free(&l);
    const char *const paths[] = {folder, path_of("model.gguf"), path_of("model.bin")};
    for (int i = 0; i < 3; i++) {
        dart_pretrained *model;
        unsigned refused = 0;
        start_failing(0, false);
        assert_int_equal(dart_pretrained_open(paths[i], &model), DART_OK);
        const unsigned long all = stop_failing();
        dart_pretrained_close(model);
        for (unsigned long k = 1; k <= all; k++) {
            const long before = live_blocks();
            start_failing(k, false);
            dart_status status = dart_pretrained_open(paths[i], &model);
            stop_failing();
            if (status != DART_OK && status != DART_MEMORY)
                fail_msg(
                    "allocation %lu of %lu: status %d: %s", k, all, (int)status, dart_error_text());
            refused += status == DART_MEMORY;
            dart_pretrained_close(model);
            assert_int_equal(live_blocks(), before);
        }
        printf("%u of %lu failed allocations said so\n", refused, all);
#ifndef __SANITIZE_ADDRESS__
        assert_true(refused >= 4);
#endif
    }
}

/* stories260K in $DART_TEST_MODELS or beside the repository: both of its files hold one model. */
static void test_real(void **state)
{
    (void)state;
    const char *models = getenv("DART_TEST_MODELS");
    char path[2][4096];
    if (!models) models = DART_SOURCE_DIR "/../shared/models";
    snprintf(path[0], 4096, "%s/stories260K/stories260K.bin", models);
    snprintf(path[1], 4096, "%s/stories260K/stories260K_v1.bin", models);
    const bool there = dart_file_exists(path[0]) && dart_file_exists(path[1]);
    printf("data: stories260K %s\n", there ? "read" : "not at hand");
    if (!there) return;
    dart_pretrained *a = opened(path[0]), *b = opened(path[1]);
    uint32_t count, other;
    uint64_t numbers = 0;
    const dart_pretrained_tensor *tensor = dart_pretrained_tensors(a, &count);
    assert_non_null(dart_pretrained_tensors(b, &other));
    assert_int_equal(count, other);
    for (uint32_t i = 0; i < count; i++) {
        const size_t n = (size_t)(tensor[i].rows * tensor[i].columns);
        float *x = malloc(4 * n), *y = malloc(4 * n);
        assert_int_equal(dart_pretrained_read(a, tensor[i].name, 0, tensor[i].rows, x), DART_OK);
        assert_int_equal(dart_pretrained_read(b, tensor[i].name, 0, tensor[i].rows, y), DART_OK);
        assert_memory_equal(x, y, 4 * n);
        numbers += n;
        free(x);
        free(y);
    }
    assert_int_equal(numbers, 260032);
    dart_pretrained_close(a);
    dart_pretrained_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_gguf_factors), cmocka_unit_test(test_gguf_rules),
        cmocka_unit_test(test_llama2c), cmocka_unit_test(test_memory), cmocka_unit_test(test_real)};
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    printf("%u numbers compared\n", compared);
    return failed || compared < 300000;
}
