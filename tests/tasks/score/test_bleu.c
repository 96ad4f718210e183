/* BLEU against what sacreBLEU says (tests/tasks/score/bleu/expected.json): words, counts, scores;
 * and against sacreBLEU itself on Multi30k, where both are on the machine ($PYTHON, python3). */
#include "bleu.h"
#include "file.h"
#include "parallel.h"
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { FILES = 3, LEAST_CASES = 600, LEAST_WORDS = 100 };

static const char *const name[FILES] = {"ref0.txt", "ref1.txt", "hyp.txt"};
static char *data[FILES];
static const char *line[FILES][100];
static uint64_t lines[FILES];
static json_t *expected;

static int set_up(void **state)
{
    (void)state;
    for (int f = 0; f < FILES; f++) {
        char path[512];
        size_t size;
        snprintf(path, sizeof path, DART_SOURCE_DIR "/tests/tasks/score/bleu/%s", name[f]);
        if (dart_file_read(path, &data[f], &size) != DART_OK) return 1;
        for (char *at = data[f]; *at && lines[f] < 100;) {
            char *end = strchr(at, '\n');
            *end = 0;
            line[f][lines[f]++] = at;
            at = end + 1;
        }
    }
    expected = json_load_file(DART_SOURCE_DIR "/tests/tasks/score/bleu/expected.json", 0, NULL);
    return !expected;
}

static int tear_down(void **state)
{
    (void)state;
    for (int f = 0; f < FILES; f++) free(data[f]);
    json_decref(expected);
    return 0;
}

static void test_words(void **state)
{
    (void)state;
    json_t *words = json_object_get(expected, "words");
    uint64_t checked = 0;
    for (int f = 0; f < FILES; f++) {
        json_t *list = json_object_get(words, name[f]);
        assert_int_equal(json_array_size(list), lines[f]);
        for (size_t i = 0; i < lines[f]; i++, checked++) {
            char *got;
            assert_int_equal(dart_bleu_words(line[f][i], &(dart_bleu_options){0}, &got), DART_OK);
            assert_string_equal(got, json_string_value(json_array_get(list, i)));
            free(got);
        }
    }
    assert_true(checked >= LEAST_WORDS);
    print_message("%llu lines cut into words\n", (unsigned long long)checked);
}

static int64_t whole(json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void near(double got, double want, const char *what, size_t at)
{
    if (!(fabs(got - want) <= 1e-9 * (1 + fabs(want))))
        fail_msg("case %zu: %s is %.12g, sacreBLEU says %.12g", at, what, got, want);
}

static void test_scores(void **state)
{
    (void)state;
    json_t *cases = json_object_get(expected, "cases"), *c;
    size_t at, above = 0;
    json_array_foreach(cases, at, c)
    {
        uint64_t start = (uint64_t)whole(c, "start"), count = (uint64_t)whole(c, "count");
        const char *const *reference[2];
        uint32_t references = 0;
        if (whole(c, "first")) reference[references++] = line[0] + start;
        if (whole(c, "second")) reference[references++] = line[1] + start;
        const dart_bleu_options o = {.lowercase = json_is_true(json_object_get(c, "lowercase")),
            .raw = json_is_true(json_object_get(c, "raw"))};
        dart_bleu b;
        assert_int_equal(
            dart_bleu_lines(count, line[2] + start, references, reference, &o, &b), DART_OK);
        near(b.score, json_number_value(json_object_get(c, "score")), "the score", at);
        near(b.brevity, json_number_value(json_object_get(c, "bp")), "the penalty", at);
        for (size_t n = 0; n < DART_BLEU_ORDERS; n++) {
            near(b.precision[n],
                json_number_value(json_array_get(json_object_get(c, "precisions"), n)),
                "a precision", at);
            assert_int_equal(
                b.correct[n], json_integer_value(json_array_get(json_object_get(c, "correct"), n)));
            assert_int_equal(
                b.total[n], json_integer_value(json_array_get(json_object_get(c, "total"), n)));
        }
        assert_int_equal(b.hypothesis_words, whole(c, "hyp_len"));
        assert_int_equal(b.reference_words, whole(c, "ref_len"));
        above += b.score > 1;
    }
    assert_true(at >= LEAST_CASES && above > at / 2);
    print_message("%zu scores equal to those of sacreBLEU %s\n", at,
        json_string_value(json_object_get(expected, "sacrebleu")));
}

static void test_bad_input(void **state)
{
    (void)state;
    const char *one = "a", *broken = "a \xc3(";
    const char *const *reference[1] = {&one};
    dart_bleu b;
    assert_int_equal(
        dart_bleu_lines(1, &broken, 1, reference, &(dart_bleu_options){0}, &b), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "0xc3 at byte 2"));
    assert_int_equal(
        dart_bleu_lines(0, NULL, 1, reference, &(dart_bleu_options){0}, &b), DART_INPUT);
    const char *path = DART_SOURCE_DIR "/tests/tasks/score/bleu/ref0.txt";
    assert_int_equal(
        dart_bleu_of_files(DART_SOURCE_DIR "/LICENSE", &path, 1, &(dart_bleu_options){0}, &b),
        DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "ref0.txt has 40 lines"));
}

/* What the reference implementation prints, NaN if it cannot be run. */
static double ask(const char *folder, const char *flags)
{
    char command[700];
    const char *python = getenv("PYTHON");
    double score = NAN;
    snprintf(command, sizeof command, "%s -m sacrebleu %s/ref -i %s/hyp -b -w 8 %s 2>/dev/null",
        python ? python : "python3", folder, folder, flags);
    FILE *pipe = popen(command, "r");
    if (pipe && fscanf(pipe, "%lf", &score) != 1) score = NAN;
    if (pipe) pclose(pipe);
    return score;
}

/* The references with words left out, doubled and swapped. */
static void perturb(const char *from, uint64_t number, FILE *out)
{
    const char *words[200];
    size_t size[200], n = 0;
    for (const char *at = from; *at && n < 200; n++) {
        words[n] = at;
        size[n] = strcspn(at, " ");
        at += size[n] + strspn(at + size[n], " ");
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t kind = (number * 31 + i * 17) % 23;
        size_t k = kind == 5 && i + 1 < n ? i + 1 : kind == 6 && i ? i - 1 : i;
        if (kind == 0) continue;
        fprintf(out, "%.*s ", (int)size[k], words[k]);
        if (kind == 1) fprintf(out, "%.*s, ", (int)size[k], words[k]);
    }
    fputc('\n', out);
}

static void test_against_sacrebleu(void **state)
{
    (void)state;
    char folder[] = "/tmp/dart-bleu-XXXXXX", ref[64], hyp[64];
    assert_non_null(mkdtemp(folder));
    snprintf(ref, sizeof ref, "%s/ref", folder);
    snprintf(hyp, sizeof hyp, "%s/hyp", folder);
    dart_parallel c = {0};
    const dart_sentences *s = NULL;
    if (dart_parallel_open(&(dart_parallel_options){.dataset = "multi30k-de-en-raw"}, &c) ==
        DART_OK)
        s = &c.side[DART_TARGET][DART_TEST];
    FILE *r = fopen(ref, "w"), *h = fopen(hyp, "w");
    for (uint64_t i = 0; i < (s ? s->count : lines[0]); i++) {
        const char *text = s ? s->text + s->line[i] : line[0][i];
        fprintf(r, "%s\n", text);
        perturb(text, i, h);
    }
    fclose(r);
    fclose(h);
    const char *path = ref;
    dart_bleu b[2];
    for (int lc = 0; lc < 2; lc++)
        assert_int_equal(
            dart_bleu_of_files(hyp, &path, 1, &(dart_bleu_options){.lowercase = lc}, &b[lc]),
            DART_OK);
    double want = ask(folder, ""), lower = ask(folder, "-lc");
    if (isnan(want) || isnan(lower)) {
        print_message("skipped: 1 comparison (no sacrebleu for ${PYTHON:-python3})\n");
    } else {
        assert_true(fabs(b[0].score - want) < 1e-6 && fabs(b[1].score - lower) < 1e-6);
        print_message("%s: BLEU %.4f, lower case %.4f, as sacreBLEU says\n",
            s ? "Multi30k" : "fixture", b[0].score, b[1].score);
    }
    assert_true(b[0].score > 50 && b[0].score < 95);
    dart_parallel_free(&c);
    assert_int_equal(dart_remove_tree(folder), DART_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_against_sacrebleu),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
