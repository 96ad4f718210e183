/* 20,000 lines of several languages and scripts, white space, emoji and bytes that are no text: ids
 * and decoded text as the Python package `tokenizers` has them, whose sums by blocks of 500 lines
 * stand in real_text.csv. tests/interop/tokens.py makes that file: it gets the lines from this
 * program (`test_real_text lines FILE`). */
#include "rng.h"
#include "shared.h"
#include <zlib.h>

enum { LINES = 20000, BLOCK = 500, REAL = 17000, MIXED = 2200, NOISE = 500 };

typedef struct line {
    char *text; /* owned */
    size_t bytes;
} line;
static line all[LINES];

static uint32_t drawn; /* numbers of this test's stream so far */
static uint32_t draw(uint32_t below)
{
    uint32_t out[4];
    dart_philox(7, DART_STREAM_TEST, drawn++, out);
    return out[0] % below;
}

static void put(size_t at, const char *text, size_t bytes)
{
    all[at].text = malloc(bytes + 1);
    memcpy(all[at].text, text, bytes);
    all[at].bytes = bytes;
}

/* The first lines of a file, without their line ends. */
static size_t take(const char *name, size_t lines, size_t at)
{
    const char *path = shared_path(name);
    char *text;
    size_t size;
    if (!path || dart_file_read(path, &text, &size) != DART_OK) return at;
    for (char *from = text, *end; lines && (end = memchr(from, '\n', size - (size_t)(from - text)));
         from = end + 1, lines--)
        put(at++, from, (size_t)(end - from));
    free(text);
    return at;
}

static size_t write_char(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to = (char)c;
        return 1;
    }
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    to[0] = (char)((0xf00 >> more) | (c >> (6 * more)));
    for (int i = 1; i <= more; i++) to[i] = (char)(0x80 | (c >> (6 * (more - i)) & 0x3f));
    return (size_t)more + 1;
}

static void mixed(size_t at)
{
    static const uint32_t script[][2] = {{0x20, 0x7e}, {0xa1, 0x17f}, {0x370, 0x3ff},
        {0x400, 0x4ff}, {0x5d0, 0x5ea}, {0x620, 0x64a}, {0x905, 0x939}, {0xe01, 0xe3a},
        {0x1100, 0x11ff}, {0x3041, 0x3096}, {0x30a1, 0x30fa}, {0x4e00, 0x9fa5}, {0xac00, 0xd7a3},
        {0x1f300, 0x1f64f}, {0x1f900, 0x1f9ff}, {0x300, 0x36f}, {0x2000, 0x206f}, {0xff01, 0xff5e},
        {0x1e00, 0x1eff}, {0x2100, 0x218f}, {0x660, 0x669}, {0x2460, 0x24ff}};
    static const char *const between[] = {" ", "  ", "   ", "\t", "\r", "\n", "\n\n", "\r\n",
        "\u00a0", "\u3000", "\u2009", "\xc2\x85", "\u200d", "\ufe0f", "\u180e", " \n ",
        "<|endoftext|>", "<s>", "</s>", "[MASK]", "<|im_start|>", "'s", "'LL", "1234567", "\u017f",
        "'\u017f", "\u2581", "\u0130", "\u01c5", "\ufb01", "\u1e9e", "e\u0301", "\uff76\uff9e"};
    char text[2048];
    size_t n = 0;
    for (uint32_t words = 1 + draw(14); words; words--) {
        if (draw(100) < 45) {
            const char *mark = between[draw(sizeof between / sizeof *between)];
            memcpy(text + n, mark, strlen(mark));
            n += strlen(mark);
        }
        const uint32_t *range = script[draw(sizeof script / sizeof *script)];
        for (uint32_t chars = 1 + draw(9); chars; chars--)
            n += write_char(text + n, range[0] + draw(range[1] - range[0] + 1));
    }
    put(at, text, n);
}

static void noise(size_t at)
{
    char text[64];
    size_t n = 1 + draw(60);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(draw(3) ? 32 + draw(95) : draw(2) ? 128 + draw(128) : draw(256));
    put(at, text, n);
}

static bool make_lines(void)
{
    size_t at = take("datasets/multi30k-de-en/raw/train.de.gz", 4000, 0);
    at = take("datasets/multi30k-de-en/raw/train.en.gz", 3000, at);
    at = take("datasets/wikitext-2/wiki.train.tokens.gz", 5000, at);
    at = take("datasets/tinyshakespeare/input.txt", 3000, at);
    at = take("datasets/tinystories-sample/tiny_stories.txt.gz", 1000, at);
    at = take("datasets/ptb/ptb.valid.txt.gz", 1000, at);
    if (at != REAL) return false;
    while (at < REAL + MIXED) mixed(at++);
    while (at < REAL + MIXED + NOISE) noise(at++);
    for (; at < LINES; at++) { /* damaged */
        const line *of = &all[draw(REAL)];
        put(at, of->text, of->bytes);
        for (int i = 0; i < 3 && of->bytes; i++)
            all[at].text[draw((uint32_t)of->bytes)] = (char)(128 + draw(128));
    }
    return true;
}

static int write_lines(const char *path)
{
    FILE *out = fopen(path, "wb");
    if (!out || !make_lines()) return 1;
    for (size_t i = 0; i < LINES; i++) {
        uint32_t bytes = (uint32_t)all[i].bytes;
        fwrite(&bytes, sizeof bytes, 1, out);
        fwrite(all[i].text, 1, bytes, out);
    }
    return fclose(out) != 0;
}

static const char *path_of(const char *name)
{
    static char path[1024];
    if (!strcmp(name, "gpt2")) return shared_path("models/tokenizer-gpt2/tokenizer.json");
    if (!strcmp(name, "gpt2-files")) return shared_path("models/tokenizer-gpt2/merges.txt");
    if (!strcmp(name, "gpt2-gguf")) return shared_path("models/gguf-vocab/ggml-vocab-gpt-2.gguf");
    if (!strcmp(name, "llama")) return shared_path("models/tokenizer-llama-spm/tokenizer.model");
    if (!strcmp(name, "llama-gguf"))
        return shared_path("models/gguf-vocab/ggml-vocab-llama-spm.gguf");
    if (!strcmp(name, "smollm2")) return fetched_path("smollm2-135m-instruct/model.gguf");
    if (!strcmp(name, "minilm")) return fetched_path("all-minilm-l6-v2/tokenizer.json");
    snprintf(path, sizeof path, DART_SOURCE_DIR "/tests/tokenizer/data/%s.json", name);
    return path;
}

typedef struct expected {
    char name[32];
    unsigned block, ids, ids_sum, text_sum;
} expected;

/* Sums of a block; the text is that of the decoder and of the stream, which agree. */
static expected measure(const dart_tokenizer *t, const char *name, unsigned block)
{
    expected got = {.block = block};
    snprintf(got.name, sizeof got.name, "%s", name);
    for (size_t i = (size_t)block * BLOCK; i < (size_t)(block + 1) * BLOCK; i++) {
        size_t bytes, piece;
        dart_ids ids = encoded(t, all[i].text, all[i].bytes,
            DART_ENCODE_TEMPLATE | DART_ENCODE_SPECIAL | DART_ENCODE_REPLACE);
        char *text = decoded(t, ids, true, &bytes);
        dart_token_stream *stream;
        assert_int_equal(dart_token_stream_open(t, true, &stream), DART_OK);
        size_t at = 0;
        for (size_t k = 0; k <= ids.count; k++) {
            const char *part;
            dart_status status = k < ids.count
                                     ? dart_token_stream_next(stream, ids.id[k], &part, &piece)
                                     : dart_token_stream_end(stream, &part, &piece);
            assert_int_equal(status, DART_OK);
            assert_true(at + piece <= bytes && !memcmp(text + at, part, piece));
            at += piece;
        }
        assert_int_equal(at, bytes);
        dart_token_stream_close(stream);
        got.ids += (unsigned)ids.count;
        if (ids.count) /* crc32 of no memory begins anew */
            got.ids_sum = (unsigned)crc32(
                got.ids_sum, (const Bytef *)ids.id, (uInt)(ids.count * sizeof *ids.id));
        got.text_sum = (unsigned)crc32(got.text_sum, (const Bytef *)text, (uInt)bytes);
        free(text);
        free(ids.id);
    }
    return got;
}

static void test_lines(void **state)
{
    (void)state;
    FILE *in = fopen(DART_SOURCE_DIR "/tests/tokenizer/real_text.csv", "r");
    char row[200], name[32] = "";
    dart_tokenizer *t = NULL;
    unsigned blocks = 0, left_out = 0, ids = 0;
    assert_non_null(in);
    if (!make_lines()) {
        printf("real text: the shared data sets are not here; nothing compared\n");
        fclose(in);
        skip();
    }
    while (fgets(row, sizeof row, in)) {
        expected e, got;
        if (sscanf(row, "%31[^,],%u,%u,%x,%x", e.name, &e.block, &e.ids, &e.ids_sum, &e.text_sum) !=
            5)
            continue; /* the heading */
        if (strcmp(name, e.name)) {
            const char *path = path_of(e.name);
            dart_tokenizer_close(t);
            t = path ? opened(path) : NULL;
            strcpy(name, e.name);
            if (!t) printf("real text: %s is not here\n", e.name);
        }
        left_out += !t;
        if (!t) continue;
        got = measure(t, e.name, e.block);
        if (got.ids != e.ids || got.ids_sum != e.ids_sum || got.text_sum != e.text_sum)
            fail_msg("%s, lines %u to %u: %u ids, sums %08x and %08x; expected %u, %08x, %08x",
                e.name, e.block * BLOCK, (e.block + 1) * BLOCK - 1, got.ids, got.ids_sum,
                got.text_sum, e.ids, e.ids_sum, e.text_sum);
        blocks++;
        ids += got.ids;
    }
    dart_tokenizer_close(t);
    fclose(in);
    printf("real text: %u blocks of %d lines compared, %u ids, %u blocks left out\n", blocks,
        (int)BLOCK, ids, left_out);
    assert_true(blocks >= 40);
}

/* Without replacement every byte comes back, from tokenizers that know bytes. */
static void test_bytes_come_back(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "llama", "llama3", "qwen2"};
    unsigned lines = 0;
    if (!all[LINES - 1].text) skip();
    for (int k = 0; k < 4; k++) {
        const char *path = path_of(names[k]);
        if (!path) continue;
        dart_tokenizer *t = opened(path);
        /* qwen2 normalizes: only lines that are no text are sure to come back */
        for (size_t i = k == 3 ? REAL + MIXED : 0; i < LINES; i += 3, lines++) {
            size_t bytes;
            dart_ids ids = encoded(t, all[i].text, all[i].bytes, 0);
            char *text = decoded(t, ids, false, &bytes);
            bool marks = k == 1 && memmem(all[i].text, all[i].bytes, "\u2581", 3);
            if (!marks && (bytes != all[i].bytes || memcmp(text, all[i].text, bytes)))
                fail_msg("%s, line %zu: %s", names[k], i, text);
            free(text);
            free(ids.id);
        }
        dart_tokenizer_close(t);
    }
    printf("real text: %u lines came back byte for byte\n", lines);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "lines")) return write_lines(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines), cmocka_unit_test(test_bytes_come_back)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < LINES; i++) free(all[i].text);
    return failed;
}
