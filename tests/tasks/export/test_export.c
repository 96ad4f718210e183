/* Exports of a small fine-tuned model in every format: what is read back computes the same, what
 * has no place is refused, and failures leave nothing. Other programs read them in tests/interop.
 */
/* both headers have something of this name */
#define allocations failing_allocations
#include "full_disk.h"
#include "failing_alloc.h"
#undef allocations
#include "../train/pretrained_lab.h"
#include "export.h"
#include "gguf.h"
#include "safetensors.h"
#include "tokenizer.h"
#include <math.h>

static const char *const formats[] = {"peft", "hf", "gguf", "gguf-lora"};
static const int32_t ids[] = {1, 100, 40, 259, 35, 261, 77, 260};
enum { IDS = sizeof ids / sizeof *ids, LEAST_VOCAB = LAB_VOCAB };

static void tuned(const char *method, const char *base, const char *out)
{
    watch w = {0};
    dart_recipe *recipe = tuning(method, "cpu", out);
    if (base) set(recipe, "base", base);
    if (base) set(recipe, "tokenizer", base);
    if (!strcmp(method, "dense")) set(recipe, "lr", "1e-3");
    if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s: %s", method, dart_error_text());
    dart_recipe_free(recipe);
}

static int set_up_models(void **state)
{
    static const char *const more[] = {" ", "a", " a"};
    if (set_up_base(state)) return 1;
    write_pieces(tokenizer_path, more);
    tuned("lora", NULL, in("lora"));
    tuned("tt-lora", NULL, in("tt-lora"));
    tuned("dota", NULL, in("dota"));
    tuned("lorta lora_alpha=300", NULL, in("lorta"));
    tuned("lora use_dora=true", NULL, in("dora"));
    tuned("lora use_dora=true lora_init=pissa", NULL, in("dora-pissa"));
    tuned("dense", NULL, in("dense"));
    return 0;
}

static dart_status export(const char *from, const char *format, const char *dtype, const char *out)
{
    const dart_export_options o = {
        .size = sizeof o, .format = format, .dtype = dtype, .out = out, .base_name = "base"};
    dart_export_result result = {.size = sizeof result};
    dart_status status = dart_export(from, NULL, &o, NULL, &result);
    if (status == DART_OK && (!result.parameters || !result.bytes)) fail_msg("%s: empty", out);
    return status;
}

static void exported(const char *from, const char *format, const char *dtype, const char *out)
{
    if (export(from, format, dtype, out) != DART_OK)
        fail_msg("%s as %s: %s", from, format, dart_error_text());
}

/* Of all ids after each other; caller frees. */
static float *logits(const char *path, const char *tokenizer)
{
    dart_recipe *over;
    dart_llm *llm;
    dart_context *context;
    float *out = calloc(IDS * LEAST_VOCAB, sizeof *out);
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    set(over, "device", "cpu");
    if (tokenizer) set(over, "tokenizer", tokenizer);
    const dart_llm_options o = {.size = sizeof o, .overrides = over};
    if (dart_llm_open(path, &o, &llm) != DART_OK) fail_msg("%s: %s", path, dart_error_text());
    assert_int_equal(dart_context_new(llm, NULL, &context), DART_OK);
    const uint32_t vocab = dart_llm_vocab_size(llm);
    for (int i = 0; i < IDS; i++) {
        const int32_t id = ids[i] < (int32_t)vocab ? ids[i] : ids[i] % (int32_t)vocab;
        assert_int_equal(dart_context_feed(context, &id, 1), DART_OK);
        memcpy(out + i * LEAST_VOCAB, dart_context_logits(context),
            (vocab < LEAST_VOCAB ? vocab : LEAST_VOCAB) * sizeof *out);
    }
    dart_context_free(context);
    dart_llm_close(llm);
    dart_recipe_free(over);
    return out;
}

/* Largest difference, of the largest logit. */
static double difference(const char *a, const char *b, const char *tokenizer)
{
    float *x = logits(a, NULL), *y = logits(b, tokenizer);
    double most = 0, worst = 0;
    for (int i = 0; i < IDS * LEAST_VOCAB; i++) {
        most = fmax(most, fabs(x[i]));
        worst = fmax(worst, fabs((double)x[i] - y[i]));
    }
    free(x);
    free(y);
    return worst / most;
}

static void whole_models_compute_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *format, *dtype, *file;
        double most;
    } cases[] = {{"hf", NULL, "", 1e-5}, {"hf", "f16", "", 1e-2}, {"hf", "bf16", "", 5e-2},
        {"gguf", NULL, "/model.gguf", 1e-5}, {"gguf", "f32", "/model.gguf", 1e-5},
        {"gguf", "f16", "/model.gguf", 1e-2}, {"gguf", "bf16", "/model.gguf", 5e-2}};
    static const char *const from[] = {"lora", "tt-lora", "dota", "dora", "dense", "lorta"};
    for (int m = 0; m < 6; m++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char out[200], file[256];
            snprintf(out, sizeof out, "%s/%s-%s-%zu", folder, from[m], cases[i].format, i);
            snprintf(file, sizeof file, "%s%s", out, cases[i].file);
            exported(in(from[m]), cases[i].format, cases[i].dtype, out);
            const double error = difference(in(from[m]), file, NULL);
            const bool exact = !cases[i].dtype || !strcmp(cases[i].dtype, "f32");
            if (!(error <= cases[i].most) || (!exact && error == 0))
                fail_msg("%s as %s %s: logits differ by %.2g", from[m], cases[i].format,
                    cases[i].dtype ? cases[i].dtype : "", error);
        }
}

static void tokens_are_the_same_in_gguf(void **state)
{
    (void)state;
    static const char *const texts[] = {"the then a he", " a", "", "a aa  a", "  the  end",
        "caf\xc3\xa9", "\xff\xfe raw", "a\nthe\t the", "<s> is text"};
    dart_tokenizer *ours, *theirs;
    exported(in("lora"), "gguf", NULL, in("tokens"));
    char path[256];
    snprintf(path, sizeof path, "%s/model.gguf", in("tokens"));
    assert_int_equal(dart_tokenizer_open(tokenizer_path, &ours), DART_OK);
    if (dart_tokenizer_open(path, &theirs) != DART_OK) fail_msg("%s", dart_error_text());
    assert_int_equal(dart_tokenizer_size(theirs), LAB_VOCAB);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        dart_ids a = {0}, b = {0};
        const size_t bytes = strlen(texts[i]);
        if (!bytes) continue; /* llama2.c writes nothing for it, SentencePiece a blank */
        assert_int_equal(dart_tokenizer_encode(ours, texts[i], bytes, 0, &a), DART_OK);
        assert_int_equal(dart_tokenizer_encode(theirs, texts[i], bytes, 0, &b), DART_OK);
        if (a.count != b.count) fail_msg("'%s': %zu ids, %zu expected", texts[i], b.count, a.count);
        assert_memory_equal(a.id, b.id, a.count * sizeof *a.id);
        free(a.id);
        free(b.id);
    }
    dart_tokenizer_close(ours);
    dart_tokenizer_close(theirs);
}

/* base + alpha / r * b a is the merged tensor, for each tensor of the file of the whole model. */
static void pairs_stand_beside_the_base(void **state)
{
    (void)state;
    static const char *const from[] = {"lora", "tt-lora", "dota", "dora", "dora-pissa", "lorta"};
    dart_gguf *base, *whole, *lora;
    bool several = false; /* ranks in one file */
    char path[256];
    dart_recipe *over;
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    set(over, "tokenizer", tokenizer_path);
    const dart_export_options o = {.size = sizeof o, .format = "gguf", .out = in("base-gguf")};
    dart_export_result result = {.size = sizeof result};
    if (dart_export(base_path, over, &o, NULL, &result) != DART_OK)
        fail_msg("%s", dart_error_text());
    dart_recipe_free(over);
    snprintf(path, sizeof path, "%s/model.gguf", in("base-gguf"));
    assert_int_equal(dart_gguf_open(path, &base), DART_OK);
    for (int m = 0; m < 6; m++) {
        char out[200];
        uint64_t count;
        double alpha, moved = 0;
        unsigned pairs = 0;
        snprintf(out, sizeof out, "%s/%s-whole", folder, from[m]);
        exported(in(from[m]), "gguf", NULL, out);
        snprintf(path, sizeof path, "%s/model.gguf", out);
        assert_int_equal(dart_gguf_open(path, &whole), DART_OK);
        snprintf(out, sizeof out, "%s/%s-pairs", folder, from[m]);
        exported(in(from[m]), "gguf-lora", NULL, out);
        snprintf(path, sizeof path, "%s/adapter.gguf", out);
        assert_int_equal(dart_gguf_open(path, &lora), DART_OK);
        assert_int_equal(dart_gguf_f64(lora, "adapter.lora.alpha", 0, &alpha), DART_OK);
        const dart_gguf_tensor *t = dart_gguf_tensors(whole, &count);
        for (uint64_t i = 0; i < count; i++) {
            char name[2][96];
            snprintf(name[0], sizeof name[0], "%s.lora_a", t[i].name);
            snprintf(name[1], sizeof name[1], "%s.lora_b", t[i].name);
            const dart_gguf_tensor *a = dart_gguf_tensor_find(lora, name[0]),
                                   *b = dart_gguf_tensor_find(lora, name[1]),
                                   *w = dart_gguf_tensor_find(base, t[i].name);
            assert_non_null(w);
            assert_true((a != NULL) == (b != NULL));
            pairs += a != NULL;
            if (a) assert_true(a->dim[0] == w->dim[0] && b->dim[1] == w->dim[1]);
            if (a) assert_int_equal(a->dim[1], b->dim[0]);
            several |= a && (double)a->dim[1] != alpha;
            const uint64_t rank = a ? a->dim[1] : 0, in_size = w->dim[0];
            for (uint64_t r = 0; r < w->dim[1]; r++)
                for (uint64_t c = 0; c < in_size; c++) {
                    double sum = 0;
                    for (uint64_t k = 0; k < rank; k++)
                        sum += ((const float *)(const void *)b->data)[r * rank + k] *
                               (double)((const float *)(const void *)a->data)[k * in_size + c];
                    const double from_base =
                                     ((const float *)(const void *)w->data)[r * in_size + c],
                                 merged = ((const float *)(const void *)t[i].data)[r * in_size + c];
                    moved = fmax(moved, fabs(merged - from_base));
                    sum = from_base + (rank ? alpha / (double)rank * sum : 0);
                    if (fabs(sum - merged) > 2e-6)
                        fail_msg("%s, %s: %g is %g", from[m], t[i].name, merged, sum);
                }
        }
        dart_gguf_tensors(lora, &count);
        assert_int_equal(count, 2 * pairs);
        assert_true(pairs >= 2 && moved > 1e-3);
        dart_gguf_close(lora);
        dart_gguf_close(whole);
    }
    assert_true(several);
    dart_gguf_close(base);
}

/* What PEFT calls magnitudes: lengths of the rows of the merged matrices. */
static void lengths_stand_beside_the_pairs(void **state)
{
    (void)state;
    static const char *const from[] = {"dora", "dora-pissa", "lora"};
    for (int m = 0; m < 3; m++) {
        char out[200], path[256], name[160], *config;
        dart_safetensors pairs, whole;
        unsigned found = 0;
        size_t bytes;
        snprintf(out, sizeof out, "%s/%s-peft", folder, from[m]);
        exported(in(from[m]), "peft", NULL, out);
        snprintf(path, sizeof path, "%s/adapter_config.json", out);
        assert_int_equal(dart_file_read(path, &config, &bytes), DART_OK);
        assert_true((strstr(config, "\"use_dora\": true") != NULL) == (m < 2));
        free(config);
        snprintf(path, sizeof path, "%s/adapter_model.safetensors", out);
        assert_int_equal(dart_safetensors_open(path, &pairs), DART_OK);
        snprintf(out, sizeof out, "%s/%s-merged", folder, from[m]);
        exported(in(from[m]), "hf", NULL, out);
        snprintf(path, sizeof path, "%s/model.safetensors", out);
        assert_int_equal(dart_safetensors_open(path, &whole), DART_OK);
        for (size_t i = 0; i < pairs.count; i++) {
            const dart_st_tensor *t = &pairs.tensor[i];
            const char *end = strstr(t->name, "lora_magnitude_vector");
            if (!end) continue;
            const char *module = t->name + strlen("base_model.model.");
            snprintf(name, sizeof name, "%.*sweight", (int)(end - module), module);
            const dart_st_tensor *w = dart_safetensors_find(&whole, name);
            assert_non_null(w);
            assert_true(t->rank == 1 && t->dim[0] == w->dim[0]);
            float *length = calloc(t->count, sizeof *length);
            float *matrix = calloc(w->count, sizeof *matrix), *row = matrix;
            assert_int_equal(dart_safetensors_f32(&pairs, t->name, t->count, length), DART_OK);
            assert_int_equal(dart_safetensors_f32(&whole, w->name, w->count, matrix), DART_OK);
            for (uint64_t r = 0; r < w->dim[0]; r++, row += w->dim[1]) {
                double power = 0;
                for (uint64_t c = 0; c < w->dim[1]; c++) power += (double)row[c] * row[c];
                assert_true(fabs(sqrt(power) - fabs(length[r])) <= 1e-5 * sqrt(power));
            }
            free(length);
            free(matrix);
            found++;
        }
        assert_int_equal(found, m < 2 ? 7 * LAB_LAYERS : 0);
        dart_safetensors_close(&pairs);
        dart_safetensors_close(&whole);
    }
}

/* Tuned on a GGUF file, and exported: what that says of itself stays. */
static void metadata_of_a_gguf_base_stay(void **state)
{
    (void)state;
    char first[256], again[256];
    uint64_t count, more;
    uint32_t n;
    dart_gguf *a, *b;
    exported(in("lora"), "gguf", NULL, in("first"));
    snprintf(first, sizeof first, "%s/model.gguf", in("first"));
    tuned("lora", first, in("second"));
    exported(in("second"), "gguf", "f16", in("again"));
    snprintf(again, sizeof again, "%s/model.gguf", in("again"));
    assert_true(difference(in("second"), again, NULL) < 1e-2);
    assert_true(difference(in("second"), first, NULL) > 2e-2);
    assert_int_equal(dart_gguf_open(first, &a), DART_OK);
    assert_int_equal(dart_gguf_open(again, &b), DART_OK);
    const dart_gguf_value *x = dart_gguf_values(a, &count), *y = dart_gguf_values(b, &more);
    assert_int_equal(count, more);
    for (uint64_t i = 0; i < count; i++) {
        assert_string_equal(x[i].key, y[i].key);
        assert_true(x[i].type == y[i].type && x[i].count == y[i].count);
        if (!x[i].text && strcmp(x[i].key, "general.file_type"))
            assert_memory_equal(x[i].data, y[i].data, x[i].count);
    }
    assert_int_equal(dart_gguf_u32(b, "general.file_type", 0, &n), DART_OK);
    assert_int_equal(n, 1);
    dart_gguf_close(a);
    dart_gguf_close(b);
}

/* Other programs stop where a turn of the template ends that a model was trained with, too. */
static void ends_of_turns_are_told(void **state)
{
    (void)state;
    static const char turns[] =
        "{\"user\": [\"Q\", \"\\n\"], \"assistant\": [\"\", \" <unk>\\n\"]}";
    char path[256];
    char *text;
    size_t size;
    dart_gguf *gguf;
    uint32_t id;
    watch w = {0};
    assert_int_equal(dart_file_write_sync(in("turns.json"), turns, sizeof turns - 1), DART_OK);
    snprintf(path, sizeof path, "%s", in("turns.json"));
    dart_recipe *recipe = tuning("lora", "cpu", in("turns"));
    set(recipe, "chat_template", path);
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    dart_recipe_free(recipe);
    exported(in("turns"), "hf", NULL, in("turns-hf"));
    snprintf(path, sizeof path, "%s/config.json", in("turns-hf"));
    assert_int_equal(dart_file_read(path, &text, &size), DART_OK);
    json_t *config = json_loads(text, 0, NULL);
    free(text);
    json_t *ends = json_object_get(config, "eos_token_id");
    assert_int_equal(json_array_size(ends), 2);
    assert_int_equal(json_integer_value(json_array_get(ends, 0)), 2);
    assert_int_equal(json_integer_value(json_array_get(ends, 1)), 0);
    json_decref(config);
    exported(in("turns"), "gguf", NULL, in("turns-gguf"));
    snprintf(path, sizeof path, "%s/model.gguf", in("turns-gguf"));
    assert_int_equal(dart_gguf_open(path, &gguf), DART_OK);
    assert_int_equal(dart_gguf_u32(gguf, "tokenizer.ggml.eot_token_id", UINT32_MAX, &id), DART_OK);
    assert_int_equal(id, 0);
    dart_gguf_close(gguf);
}

/* Rows of 64 are whole blocks, those of 24 are not. */
static void blocks_where_rows_allow(void **state)
{
    (void)state;
    static const char *const dtypes[] = {"q8_0", "q4_0"};
    static const double most[] = {0.05, 0.5};
    watch w = {0};
    dart_recipe *recipe = tiny("cpu", in("wide"));
    const char *const keys[][2] = {{"arch", "llama"}, {"d_model", "64"}, {"d_ff", "88"},
        {"tokenizer", tokenizer_path}, {"linear", "dense"}, {"context", "16"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) set(recipe, keys[i][0], keys[i][1]);
    if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    exported(in("wide"), "gguf", NULL, in("wide-f32"));
    char path[256];
    snprintf(path, sizeof path, "%s/model.gguf", in("wide-f32"));
    assert_true(difference(in("wide"), path, NULL) <= 1e-5);
    for (int d = 0; d < 2; d++) {
        char out[200];
        dart_gguf *file;
        uint32_t n;
        snprintf(out, sizeof out, "%s/wide-%s", folder, dtypes[d]);
        exported(in("wide"), "gguf", dtypes[d], out);
        snprintf(path, sizeof path, "%s/model.gguf", out);
        const double error = difference(in("wide"), path, NULL);
        if (!(error > 1e-5 && error < most[d])) fail_msg("%s: %.2g", dtypes[d], error);
        assert_int_equal(dart_gguf_open(path, &file), DART_OK);
        assert_int_equal(dart_gguf_u32(file, "general.quantization_version", 0, &n), DART_OK);
        assert_int_equal(n, 2);
        const struct {
            const char *name;
            dart_block_id id;
        } wanted[] = {{"blk.0.attn_q.weight", d ? DART_BLOCK_Q4_0 : DART_BLOCK_Q8_0},
            {"token_embd.weight", d ? DART_BLOCK_Q4_0 : DART_BLOCK_Q8_0},
            {"blk.0.ffn_down.weight", DART_BLOCK_F16}, {"blk.0.attn_norm.weight", DART_BLOCK_F32}};
        for (int i = 0; i < 4; i++) {
            const dart_gguf_tensor *t = dart_gguf_tensor_find(file, wanted[i].name);
            assert_non_null(t);
            assert_int_equal(t->format->id, wanted[i].id);
        }
        dart_gguf_close(file);
    }
}

static void gpt_from_scratch_has_a_place(void **state)
{
    (void)state;
    watch w = {0};
    dart_recipe *recipe = tiny("cpu", in("gpt"));
    set(recipe, "tokenizer", tokenizer_path);
    set(recipe, "bias", "true");
    if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    exported(in("gpt"), "gguf", NULL, in("gpt-gguf"));
    char path[256];
    snprintf(path, sizeof path, "%s/model.gguf", in("gpt-gguf"));
    assert_true(difference(in("gpt"), path, NULL) <= 1e-5);
}

static void what_has_no_place_is_refused(void **state)
{
    (void)state;
    watch w = {0};
    dart_recipe *recipe = tiny("cpu", in("words"));
    set(recipe, "bias", "true");
    if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    static const char *const blankless[] = {"th", "he", " a"};
    char bare[200];
    snprintf(bare, sizeof bare, "%s/bare.bin", folder);
    write_pieces(bare, blankless);
    dart_recipe *over;
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    set(over, "tokenizer", bare);
    const dart_export_options o = {.size = sizeof o, .format = "gguf", .out = in("no")};
    dart_export_result result = {.size = sizeof result};
    expect(dart_export(base_path, over, &o, NULL, &result), DART_INPUT, "has no token for a blank");
    dart_recipe_free(over);
    char lora[200], dense[200], words[200], adapted[200], no[200];
    tuned("loretta-adp", NULL, in("adapted"));
    snprintf(adapted, sizeof adapted, "%s/adapted", folder);
    snprintf(lora, sizeof lora, "%s/lora", folder);
    snprintf(dense, sizeof dense, "%s/dense", folder);
    snprintf(words, sizeof words, "%s/words", folder);
    snprintf(no, sizeof no, "%s/no", folder);
    const struct {
        const char *from, *format, *dtype, *out;
        dart_status wanted;
        const char *says;
    } cases[] = {{lora, "onnx", NULL, no, DART_USAGE, "known are peft, hf, gguf, gguf-lora"},
        {lora, "gguf", "f64", no, DART_USAGE, "knows f32, f16, bf16, q8_0, q4_0"},
        {lora, "hf", "q8_0", no, DART_USAGE, "knows f32, f16, bf16"},
        {lora, "peft", "f16", no, DART_USAGE, "--dtype is for --format hf and gguf"},
        {lora, "gguf-lora", "f32", no, DART_USAGE, "--dtype is for"},
        {lora, "gguf", NULL, "", DART_USAGE, "needs a folder"},
        {lora, "gguf", NULL, lora, DART_INPUT, "has files in it"},
        {lora, "gguf", NULL, base_path, DART_INPUT, "is a file"},
        {words, "gguf", NULL, no, DART_INPUT, "needs a tokenizer"},
        {words, "gguf-lora", NULL, no, DART_INPUT, "trained from scratch"},
        {words, "peft", NULL, no, DART_INPUT, "trained from scratch"},
        {dense, "gguf-lora", NULL, no, DART_INPUT, "adapter cannot hold"},
        {adapted, "peft", NULL, no, DART_INPUT, "adapters behind its layers"},
        {adapted, "hf", NULL, no, DART_INPUT, "adapters behind its layers"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect(export(cases[i].from, cases[i].format, cases[i].dtype, cases[i].out),
            cases[i].wanted, cases[i].says);
        assert_false(dart_file_exists(no));
    }
    assert_true(dart_file_exists(in("lora/checkpoints")));
}

/* An export of what is open; the rest of the call allocates much and belongs to other rooms. */
static dart_status of_bundle(const dart_bundle *bundle, const char *format, const char *out)
{
    const dart_export_options o = {.size = sizeof o, .format = format, .out = out};
    dart_export_result result;
    return dart_export_bundle(bundle, "model", &o, (dart_note){0}, &result);
}

/* A number that is none, of a model or of a sum that overflowed, ends in no file. */
static void numbers_are_finite(void **state)
{
    (void)state;
    char out[200];
    snprintf(out, sizeof out, "%s/infinite", folder);
    for (int vector = 0; vector < 2; vector++) {
        dart_bundle bundle;
        if (dart_bundle_open(in("lora"), NULL, (dart_note){0}, &bundle) != DART_OK)
            fail_msg("%s", dart_error_text());
        const char *name = vector ? "norm_f.weight" : "blocks.1.mlp.up.lora_B";
        float *value = NULL;
        for (uint32_t p = 0; p < bundle.model->params; p++)
            if (!strcmp(bundle.model->param[p].name, name))
                value = (bundle.model->param[p].region == DART_REGION_FROZEN ? bundle.frozen
                                                                             : bundle.param) +
                        bundle.model->param[p].offset;
        assert_non_null(value);
        *value = vector ? NAN : 3e38f;
        if (!vector) value[1] = 3e38f, value[2] = 3e38f;
        static const char *const says[][2] = {{"model.layers.1.mlp.up_proj.weight has the value",
                                                  "blk.1.ffn_up.weight has the value"},
            {"model.norm.weight has the value nan", "output_norm.weight has the value nan"}};
        for (int f = 0; f < 2; f++) {
            expect(of_bundle(&bundle, f ? "gguf" : "hf", out), DART_INPUT, says[vector][f]);
            assert_false(dart_file_exists(out));
        }
        dart_bundle_free(&bundle);
    }
}

static void failures_leave_nothing(void **state)
{
    (void)state;
    dart_bundle bundle;
    char memory[] = "/dev/shm/dart-export-XXXXXX", out[200]; /* fsync takes no time there */
    const bool fast = mkdtemp(memory) != NULL;
    snprintf(out, sizeof out, "%s/failed", fast ? memory : folder);
    for (int f = 0; f < 4; f++) {
        if (dart_bundle_open(in(f ? "tt-lora" : "dora"), NULL, (dart_note){0}, &bundle) != DART_OK)
            fail_msg("%s", dart_error_text());
        unsigned long failed = 0, at = 1;
        for (;; at++) {
            start_failing(at, false);
            dart_status status = of_bundle(&bundle, formats[f], out);
            const unsigned long seen = stop_failing();
            if (status == DART_OK) assert_int_equal(dart_remove_tree(out), DART_OK);
            if (seen < at) {
                assert_int_equal(status, DART_OK);
                break;
            }
            if (status == DART_OK) continue;
            if (status != DART_MEMORY || dart_file_exists(out))
                fail_msg("%s, allocation %lu: status %d (%s)%s", formats[f], at, (int)status,
                    dart_error_text(), dart_file_exists(out) ? ", files are left" : "");
            failed++;
        }
        print_message("%s: %lu allocations failed\n", formats[f], failed);
#ifndef __SANITIZE_ADDRESS__
        assert_true(failed > 10);
#endif
        /* the disk is full; a folder that was there stays */
        assert_int_equal(dart_mkdirs(out), DART_OK);
        const struct rlimit before = full_disk(1000);
        dart_status status = of_bundle(&bundle, formats[f], out);
        room_again(before);
        assert_int_equal(status, DART_IO);
        assert_int_equal(rmdir(out), 0);
        dart_bundle_free(&bundle);
    }
    if (fast) assert_int_equal(rmdir(memory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_models_compute_the_same),
        cmocka_unit_test(tokens_are_the_same_in_gguf),
        cmocka_unit_test(pairs_stand_beside_the_base),
        cmocka_unit_test(lengths_stand_beside_the_pairs),
        cmocka_unit_test(metadata_of_a_gguf_base_stay), cmocka_unit_test(ends_of_turns_are_told),
        cmocka_unit_test(blocks_where_rows_allow), cmocka_unit_test(gpt_from_scratch_has_a_place),
        cmocka_unit_test(what_has_no_place_is_refused), cmocka_unit_test(numbers_are_finite),
        cmocka_unit_test(failures_leave_nothing)};
    return cmocka_run_group_tests(tests, set_up_models, tear_down);
}
