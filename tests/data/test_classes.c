/* Texts with labels: rows of batches, lines of JSON, files of a named data set, names of labels;
 * what is cut, and what is refused with which sentence. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include "classes.h"
#include "failing_alloc.h"
#include "letters.h"

static char folder[] = "/tmp/dart-classes-XXXXXX";

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static void refused(dart_status status, const char *says)
{
    if (status != DART_INPUT || !strstr(dart_error_text(), says))
        fail_msg("status %d, wanted '%s': %s", (int)status, says, dart_error_text());
}

static const char *in(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, 256, "%s/%s", folder, name);
    return out;
}

static const char *write_file(const char *name, const char *text)
{
    const char *path = in(name);
    ok(dart_file_write_sync(path, text, strlen(text)));
    return path;
}

static int set_up(void **state)
{
    (void)state;
    return !mkdtemp(folder) || write_letters(folder, false) != DART_OK;
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

static dart_status read_path(
    const char *path, const char *labels, uint32_t time, bool framed, dart_corpus *out)
{
    *out = (dart_corpus){0};
    ok(dart_vocab_open(folder, &out->vocab));
    dart_status status = dart_classes_read(&(dart_classes_options){.dataset = "",
                                               .path = path,
                                               .valid = "",
                                               .text_column = "",
                                               .labels = labels,
                                               .time = time,
                                               .framed = framed},
        out);
    if (status != DART_OK) dart_corpus_free(out);
    return status;
}

/* ---- rows ---- */

static void texts_are_rows(void **state)
{
    (void)state;
    dart_corpus c = {.vocab = {.size = 20, .start = 9}, .in_labelled = true};
    dart_labelled *l = &c.labelled[DART_VALID];
    ok(dart_labelled_add(l, (int32_t[]){5, 6, 7}, (int32_t[]){0, 0, 1}, 3, 1));
    ok(dart_labelled_add(l, (int32_t[]){8}, NULL, 1, 0));
    ok(dart_labelled_add(l, (int32_t[]){1, 2, 3, 4}, NULL, 4, 2));
    for (int last = 0; last < 2; last++) {
        dart_stream s;
        const dart_stream_options o = {.batch = 2, .time = 4, .types = 2, .last = last};
        ok(dart_stream_open(&c, DART_VALID, &o, &s));
        assert_int_equal(dart_stream_eval_batches(&s), 2);
        const dart_batch *b = dart_stream_eval(&s, 0);
        static const int32_t tokens[] = {5, 6, 7, 9, 8, 9, 9, 9},
                             types[] = {0, 0, 1, 0, 0, 0, 0, 0};
        assert_memory_equal(b->tokens, tokens, sizeof tokens);
        assert_memory_equal(b->types, types, sizeof types);
        assert_true(b->lengths[0] == 3 && b->lengths[1] == 1 && b->predicted == 2);
        assert_true(b->labels[0] == 1 && b->labels[1] == 0);
        assert_true(b->at[0] == (last ? 2 : 0) && b->at[1] == 4);
        assert_true(b->at_index[b->at[0]] == 0 && b->at_index[b->at[0] + 1] == 1);
        assert_true(b->types_index[1] == 7 && b->types_index[3 + 7] == 2);
        b = dart_stream_eval(&s, 1);
        assert_true(b->lengths[0] == 4 && b->lengths[1] == 0 && b->predicted == 1);
        assert_true(b->labels[0] == 2 && b->labels[1] == -1 && b->at[1] == 4);
        dart_stream_free(&s);
    }
    dart_stream s;
    refused(dart_stream_open(&c, DART_VALID, &(dart_stream_options){.batch = 1, .time = 3}, &s),
        "text 3 has 4 tokens");
    refused(dart_stream_open(&c, DART_VALID, &(dart_stream_options){.batch = 1, .time = 4}, &s),
        "numbers a segment 1, and the model tells 1 apart");
    refused(dart_stream_open(&c, DART_TRAIN, &(dart_stream_options){.batch = 1, .time = 4}, &s),
        "0 texts with labels");
    dart_corpus_free(&c);
}

/* Each text once an epoch; a batch's number alone names it. */
static void epochs_are_whole(void **state)
{
    (void)state;
    enum { TEXTS = 7 };
    dart_corpus c = {.vocab = {.size = 20}, .in_labelled = true};
    for (int32_t i = 0; i < TEXTS; i++)
        ok(dart_labelled_add(&c.labelled[DART_TRAIN], &i, NULL, 1, i));
    dart_stream s;
    const dart_stream_options o = {.training = true, .batch = 3, .time = 2, .seed = 5};
    ok(dart_stream_open(&c, DART_TRAIN, &o, &s));
    assert_int_equal(s.windows, TEXTS);
    int seen[TEXTS] = {0};
    int32_t first[3];
    for (uint64_t at = 0; at < TEXTS; at++) {
        const dart_batch *b = dart_stream_train(&s, at);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(b->tokens[2 * i], b->labels[i]);
            seen[b->labels[i]]++;
        }
        if (!at) memcpy(first, b->labels, sizeof first);
    }
    for (int i = 0; i < TEXTS; i++) assert_int_equal(seen[i], 3);
    assert_memory_equal(dart_stream_train(&s, 0)->labels, first, sizeof first);
    dart_stream_free(&s);
    dart_corpus_free(&c);
}

/* By length: each text once an epoch all the same, batches of about one length in no order, named
 * by their number alone; an evaluation goes from the shortest to the longest. */
static void batches_by_length(void **state)
{
    (void)state;
    enum { TEXTS = 203, BATCH = 4, TIME = 24, EPOCHS = 3 };
    dart_corpus c = {.vocab = {.size = 300}, .in_labelled = true};
    int32_t ids[TIME];
    for (int32_t i = 0; i < TEXTS; i++)
        for (int split = DART_TRAIN; split <= DART_VALID; split++) {
            for (int k = 0; k < TIME; k++) ids[k] = i;
            ok(dart_labelled_add(&c.labelled[split], ids, NULL, 1 + (uint64_t)(i * 37 % TIME), i));
        }
    for (int sorted = 0; sorted < 2; sorted++) {
        dart_stream s;
        const dart_stream_options o = {
            .training = true, .batch = BATCH, .time = TIME, .seed = 5, .by_length = sorted};
        int seen[TEXTS] = {0}, spread = 0, rises = 0;
        int32_t before = 0, middle[BATCH];
        ok(dart_stream_open(&c, DART_TRAIN, &o, &s));
        for (uint64_t at = 0; at < EPOCHS * TEXTS / BATCH; at++) {
            const dart_batch *b = dart_stream_train(&s, at);
            int32_t least = TIME, most = 0;
            for (int i = 0; i < BATCH; i++) {
                const uint64_t place = at * BATCH + (uint64_t)i;
                if (place < EPOCHS * TEXTS) seen[b->labels[i]]++;
                assert_int_equal(b->lengths[i], 1 + b->labels[i] * 37 % TIME);
                if (b->lengths[i] < least) least = b->lengths[i];
                if (b->lengths[i] > most) most = b->lengths[i];
            }
            spread += most - least;
            rises += most > before;
            before = most;
            if (at == 70) memcpy(middle, b->labels, sizeof middle);
        }
        int left = 0;
        for (int i = 0; i < TEXTS; i++) {
            assert_true(seen[i] >= EPOCHS - 1 && seen[i] <= EPOCHS);
            left += EPOCHS - seen[i];
        }
        assert_int_equal(left, EPOCHS * TEXTS % BATCH);
        assert_memory_equal(dart_stream_train(&s, 70)->labels, middle, sizeof middle);
        /* of 152 batches; at random, four lengths of 1 to 24 lie 14 apart */
        print_message("sorted %d: lengths of a batch lie %.1f apart, %d batches are longer than "
                      "that before\n",
            sorted, spread / 152.0, rises);
        assert_true(sorted ? spread < 3 * 152 : spread > 10 * 152);
        assert_true(rises > 40 && rises < 110);
        dart_stream_free(&s);
        ok(dart_stream_open(&c, DART_VALID,
            &(dart_stream_options){.batch = BATCH, .time = TIME, .by_length = sorted}, &s));
        int once[TEXTS] = {0};
        int32_t last = 0;
        for (uint64_t at = 0; at < dart_stream_eval_batches(&s); at++) {
            const dart_batch *b = dart_stream_eval(&s, at);
            for (int i = 0; i < BATCH && b->labels[i] >= 0; i++) {
                once[b->labels[i]]++;
                if (sorted)
                    assert_true(b->lengths[i] >= last);
                else
                    assert_int_equal(b->labels[i], at * BATCH + (uint64_t)i);
                last = b->lengths[i];
            }
        }
        for (int i = 0; i < TEXTS; i++) assert_int_equal(once[i], 1);
        dart_stream_free(&s);
    }
    /* fewer texts than a batch, of one token each */
    dart_stream s;
    dart_labelled_free(&c.labelled[DART_TRAIN]);
    for (int32_t i = 0; i < 3; i++) ok(dart_labelled_add(&c.labelled[DART_TRAIN], &i, NULL, 1, i));
    ok(dart_stream_open(&c, DART_TRAIN,
        &(dart_stream_options){.training = true, .batch = 7, .time = 2, .by_length = true}, &s));
    int few[3] = {0};
    for (uint64_t at = 0; at < 3; at++)
        for (int i = 0; i < 7; i++) few[dart_stream_train(&s, at)->labels[i]]++;
    assert_true(few[0] == 7 && few[1] == 7 && few[2] == 7);
    dart_stream_free(&s);
    dart_corpus_free(&c);
}

/* ---- lines of JSON ---- */

static void lines_become_texts(void **state)
{
    (void)state;
    enum { A = LETTERS_A };
    ok(dart_mkdirs(in("set")));
    write_file("set/train.jsonl",
        "{\"text\": \"a b\", \"label\": \"no\"}\n\n"
        "{\"text\": \"a b c d e\", \"text_pair\": \"f g\", \"label\": \"yes\"}\n"
        "{\"text\": \"a b c d e\", \"text_pair\": \"f g h i\", \"label\": 1}\n");
    write_file("set/valid.jsonl", "{\"text\": \"z\", \"label\": \"yes\", \"id\": 4}");
    dart_corpus c;
    ok(read_path(in("set"), "no,yes", 8, true, &c));
    static const int32_t ids[] = {LETTERS_CLS, A, A + 1,
        LETTERS_SEP, /* 5 + 2 and 5 + 4 letters: 5 fit */
        LETTERS_CLS, A, A + 1, A + 2, LETTERS_SEP, A + 5, A + 6, LETTERS_SEP, LETTERS_CLS, A, A + 1,
        A + 2, LETTERS_SEP, A + 5, A + 6, LETTERS_SEP};
    static const uint8_t types[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1};
    const dart_labelled *l = &c.labelled[DART_TRAIN];
    assert_int_equal(l->count, 3);
    assert_int_equal(l->first[3], sizeof ids / sizeof *ids);
    assert_memory_equal(l->ids, ids, sizeof ids);
    assert_memory_equal(l->types, types, sizeof types);
    assert_true(l->label[0] == 0 && l->label[1] == 1 && l->label[2] == 1);
    assert_int_equal(c.labelled[DART_VALID].count, 1);
    assert_int_equal(c.labelled[DART_TEST].count, 1);
    assert_int_equal(c.count[DART_TRAIN], 20);
    assert_non_null(strstr(c.note, "2 texts are longer than 8 tokens"));
    dart_corpus_free(&c);
    /* a decoder: nothing around them, the second text on a line of its own (which this tokenizer
     * does not have) */
    ok(read_path(in("set"), "no,yes", 8, false, &c));
    l = &c.labelled[DART_TRAIN];
    static const int32_t plain[] = {A, A + 1, A, A + 1, A + 2, A + 3, A + 4, A + 5, A + 6};
    assert_memory_equal(l->ids, plain, sizeof plain);
    assert_int_equal(l->first[3] - l->first[2], 8);
    dart_corpus_free(&c);
}

static void one_file_is_cut_in_three(void **state)
{
    (void)state;
    char text[40 * 64] = "";
    for (int i = 0; i < 40; i++)
        sprintf(text + strlen(text), "{\"text\": \"%c\", \"label\": %d}\n", 'a' + i % 26, i % 2);
    dart_corpus c;
    ok(read_path(write_file("all.jsonl", text), "0,1", 8, true, &c));
    assert_int_equal(c.labelled[DART_TRAIN].count, 36);
    assert_int_equal(c.labelled[DART_VALID].count, 2);
    assert_int_equal(c.labelled[DART_TEST].count, 2);
    dart_corpus_free(&c);
}

static void bad_lines_are_named(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"{\"text\": \"a\"", "line 2 is no JSON"},
        {"{\"txt\": \"a\", \"label\": 0}", "line 2 is neither"},
        {"{\"text\": 5, \"label\": 0}", "line 2 is neither"},
        {"{\"text\": \"a\", \"text_pair\": 1, \"label\": 0}", "line 2 is neither"},
        {"{\"text\": \"a\"}", "line 2: its \"label\" is none of no,yes"},
        {"{\"text\": \"a\", \"label\": 2}", "line 2: its \"label\" is none"},
        {"{\"text\": \"a\", \"label\": -1}", "line 2: its \"label\" is none"},
        {"{\"text\": \"a\", \"label\": 0.5}", "line 2: its \"label\" is none"},
        {"{\"text\": \"a\", \"label\": \"y\"}", "line 2: its \"label\" is none"}};
    dart_corpus c;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"text\": \"a\", \"label\": 0}\n%s\n%s\n%s\n", bad[i][0],
            bad[i][0], bad[i][0]);
        refused(read_path(write_file("bad.jsonl", text), "no,yes", 8, true, &c), bad[i][1]);
    }
    const char *good = "{\"text\": \"a\", \"text_pair\": \"b\", \"label\": 0}\n";
    refused(read_path(write_file("bad.jsonl", good), "no,yes", 3, true, &c),
        "a context of 3 has no room for texts: 3 tokens stand around them");
    refused(
        read_path(in("bad.jsonl"), "no,yes", 8, true, &c), "has no text with a label to train on");
    refused(read_path(in("none.jsonl"), "no,yes", 8, true, &c), "none.jsonl");
    refused(read_path(in("bad.jsonl"), "no", 8, true, &c), "1 names, expected 2 to 64");
    refused(read_path(write_file("bad.jsonl", "{\"text\": \"\", \"label\": 0}\n{}"), "no,yes", 8,
                false, &c),
        "a text without tokens");
}

/* ---- tables ---- */

static void tables_become_texts(void **state)
{
    (void)state;
    char text[64 * 40] = "id,label,text,text_pair\n", labels[DART_LABELS_TEXT];
    for (int i = 0; i < 40; i++)
        sprintf(text + strlen(text), "%d,%s,\"a, b\",c\n", i, i % 3 ? "no" : "yes");
    dart_corpus c;
    const char *path = write_file("all.csv", text);
    ok(dart_labels_find(path, "", labels));
    assert_string_equal(labels, "no,yes");
    ok(dart_labels_find(path, "id", labels));
    ok(dart_labels_find(path, "body", labels));
    assert_string_equal(labels, "");
    ok(read_path(path, "no,yes", 16, true, &c));
    assert_int_equal(c.labelled[DART_TRAIN].count, 36);
    assert_int_equal(c.labelled[DART_VALID].count, 2);
    assert_int_equal(c.labelled[DART_TEST].count, 2);
    const dart_labelled *l = &c.labelled[DART_TRAIN];
    assert_int_equal(l->first[1], 7); /* [CLS] a , b [SEP] c [SEP] */
    assert_true(l->types[5] == 1 && l->label[0] == 1 && l->label[1] == 0);
    dart_corpus_free(&c);
    ok(dart_mkdirs(in("tables")));
    write_file("tables/train.tsv", "text\tlabel\na b\t10\nc\t9\n");
    write_file("tables/valid.tsv", "text\tlabel\nd\t9\n");
    ok(dart_labels_find(in("tables"), "", labels));
    assert_string_equal(labels, "9,10");
    ok(read_path(in("tables"), labels, 16, true, &c));
    assert_int_equal(c.labelled[DART_TRAIN].count, 2);
    assert_int_equal(c.labelled[DART_TEST].count, 1);
    dart_corpus_free(&c);
    refused(read_path(write_file("t.csv", "a,label\nx,1\n"), "0,1", 16, true, &c),
        "has no column 'text'");
    refused(read_path(write_file("t.csv", "text,b\nx,1\n"), "0,1", 16, true, &c),
        "has no column 'label'");
    refused(read_path(write_file("t.csv", "text,label\nx,0\nx,2\nx,2\n"), "0,1", 16, true, &c),
        "line 3: its \"label\" is none of 0,1");
    refused(read_path(write_file("t.csv", "text,label\nx\n"), "0,1", 16, true, &c), "line 2");
    refused(dart_labels_find(write_file("t.csv", "text,label\nx,\n"), "", labels),
        "line 2: \"label\" has to be");
}

/* ---- labels ---- */

static void labels_are_found(void **state)
{
    (void)state;
    char labels[DART_LABELS_TEXT];
    uint32_t count;
    ok(dart_labels_find(write_file("l.jsonl", "{\"text\": \"\", \"label\": 10}\n\n{\"text\": \"\", "
                                              "\"label\": 9}\n{\"text\": \"\", \"label\": 10}"),
        "", labels));
    assert_string_equal(labels, "9,10");
    ok(dart_labels_find(
        write_file("l.jsonl", "{\"text\": \"\", \"label\": \"b\"}\n{\"text\": \"\", "
                              "\"label\": \"a b\"}\n"),
        "", labels));
    assert_string_equal(labels, "a b,b");
    ok(dart_labels_find(
        write_file("l.jsonl", "{\"text\": \"\"}\n{\"text\": \"\", \"label\": 1}"), "", labels));
    assert_string_equal(labels, "");
    ok(dart_labels_count("a,b c,d", &count));
    assert_int_equal(count, 3);
    assert_int_equal(dart_label_number("a,b c,d", "b c", 3), 1);
    assert_int_equal(dart_label_number("a,b c,d", "b", 1), -1);
    refused(dart_labels_count("a,,b", &count), "a name without letters");
    refused(dart_labels_count("a,b,", &count), "a name without letters");
    refused(dart_labels_count("a,b,a", &count), "the name 'a' is there twice");
    static const char *const bad[][2] = {{"\"a\"", "1 names, expected 2"},
        {"\"a,b\"", "line 1: \"label\" has to be"}, {"1.5", "line 1: \"label\" has to be"},
        {"\"\"", "line 1: \"label\" has to be"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"text\": \"\", \"label\": %s}\n", bad[i][0]);
        refused(dart_labels_find(write_file("l.jsonl", text), "", labels), bad[i][1]);
    }
    refused(
        dart_labels_find(
            write_file("l.jsonl", "{\"text\": \"\", \"label\": 1}\n{\"text\": \"\"}"), "", labels),
        "line 2: \"label\" has to be");
    refused(
        dart_labels_find(write_file("l.jsonl", "{\"text\": \"\", \"label\": 1}\n{"), "", labels),
        "line 2 is no JSON");
    refused(dart_labels_find(in("none"), "", labels), "none");
    char many[8192] = "";
    for (int i = 0; i < 65; i++)
        sprintf(many + strlen(many), "{\"text\": \"\", \"label\": \"%d\"}\n", i);
    refused(dart_labels_find(write_file("l.jsonl", many), "", labels), "more than 64 labels");
    many[0] = 0;
    for (int i = 0; i < 9; i++)
        sprintf(many + strlen(many), "{\"text\": \"\", \"label\": \"%d%064d\"}\n", i, i);
    refused(dart_labels_find(write_file("l.jsonl", many), "", labels), "longer than 511 letters");
}

/* ---- named data sets ---- */

static dart_status read_named(const char *name, dart_corpus *out)
{
    *out = (dart_corpus){0};
    ok(dart_vocab_open(folder, &out->vocab));
    dart_status status = dart_classes_read(&(dart_classes_options){.dataset = name,
                                               .path = "",
                                               .valid = "",
                                               .text_column = "",
                                               .labels = dart_labelled_labels(name),
                                               .time = 32,
                                               .framed = true},
        out);
    if (status != DART_OK) dart_corpus_free(out);
    return status;
}

/* A file of the shape of RTE, MRPC ...: `texts` lines, of which line `bad` has another text. */
static void write_table(const char *name, const char *head, uint32_t texts, const char *line)
{
    FILE *f = fopen(in(name), "w");
    assert_non_null(f);
    fputs(head, f);
    for (uint32_t i = 0; i < texts; i++)
        fprintf(f, line, i, i % 2 ? "entailment" : "not_entailment");
    assert_int_equal(fclose(f), 0);
}

static void named_sets_are_read(void **state)
{
    (void)state;
    dart_corpus c;
    assert_string_equal(dart_labelled_name("RTE"), "glue-rte");
    assert_null(dart_labelled_name("ptb"));
    assert_non_null(dart_labelled_at(3));
    assert_null(dart_labelled_at(4));
    assert_int_equal(setenv("DART_DATA", folder, 1), 0);
    setenv("XDG_CACHE_HOME", folder, 1);
    ok(dart_mkdirs(in("glue/RTE")));
    ok(dart_mkdirs(in("glue/MRPC")));
    const char *head = "index\tsentence1\tsentence2\tlabel\n";
    write_table("glue/RTE/train.tsv", head, 2490, "%u\ta \" b\tc\t%s\n");
    refused(read_named("glue-rte", &c), "lacks the file RTE/dev.tsv");
    write_table("glue/RTE/dev.tsv", head, 276, "%u\ta b\tc\t%s\n");
    refused(read_named("glue-rte", &c),
        "2490 texts to train on and 276 to test, expected 2490 and 277");
    write_table("glue/RTE/dev.tsv", head, 277, "%u\ta b\tc\t%s\n");
    ok(read_named("glue-rte", &c));
    assert_int_equal(c.labelled[DART_TRAIN].count, 2241);
    assert_int_equal(c.labelled[DART_VALID].count, 249);
    assert_int_equal(c.labelled[DART_TEST].count, 277);
    assert_true(c.labelled[DART_TRAIN].label[0] == 1 && c.labelled[DART_TRAIN].label[1] == 0);
    assert_int_equal(c.labelled[DART_TRAIN].first[1], 7); /* CLS a " b SEP c SEP: a word each */
    dart_corpus_free(&c);
    write_table("glue/RTE/train.tsv", head, 2490, "%u\ta b\tc\tx%s\n");
    refused(read_named("glue-rte", &c), "line 2: its label is none of");
    write_table("glue/RTE/train.tsv", head, 2490, "%u\ta b\t%s\n");
    refused(read_named("glue-rte", &c), "line 2 has 3 fields");
    /* MRPC: pairs of a list are tested */
    FILE *f = fopen(in("glue/MRPC/msr_paraphrase_train.txt"), "w"),
         *ids = fopen(in("glue/MRPC/dev_ids.tsv"), "w");
    assert_true(f && ids);
    fputs("\xef\xbb\xbfQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n", f);
    for (int i = 0; i < 4076; i++) fprintf(f, "%d\t%d\t7\ta\tb\r\n", i % 2, i);
    for (int i = 0; i < 408; i++) fprintf(ids, "%s%d\t7", i ? "\n" : "", 9 * i + 1);
    assert_int_equal(fclose(f) | fclose(ids), 0);
    ok(read_named("mrpc", &c));
    assert_int_equal(c.labelled[DART_TRAIN].count + c.labelled[DART_VALID].count, 3668);
    assert_int_equal(c.labelled[DART_VALID].count, 366);
    assert_int_equal(c.labelled[DART_TEST].label[0], 1);
    dart_corpus_free(&c);
    /* where no folder beside this one has data */
    char before[PATH_MAX];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(in("glue")), 0);
    refused(read_named("glue-cola", &c), "the data set glue-cola is not on this machine");
    assert_int_equal(chdir(before), 0);
}

/* No failed allocation is taken for a bad line, and none leaves anything behind. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    char labels[DART_LABELS_TEXT];
    unsigned long all = 1;
    unsigned refused_ = 0;
    for (unsigned long k = 0; k <= all; k++)
        for (int on = 0; on < 2; on++) {
            const long blocks = live_blocks();
            dart_corpus c = {0};
            dart_stream s;
            start_failing(k, on);
            dart_status status = dart_labels_find(in("set"), "", labels);
            if (status == DART_OK) status = dart_vocab_open(folder, &c.vocab);
            if (status == DART_OK)
                status = dart_classes_read(&(dart_classes_options){.dataset = "",
                                               .path = in("set"),
                                               .valid = "",
                                               .text_column = "",
                                               .labels = "no,yes",
                                               .time = 8,
                                               .framed = true},
                    &c);
            const dart_stream_options o = {.training = true, .batch = 2, .time = 8, .types = 2};
            if (status == DART_OK) status = dart_stream_open(&c, DART_TRAIN, &o, &s);
            if (status == DART_OK) dart_stream_free(&s);
            dart_corpus_free(&c);
            const unsigned long made = stop_failing();
            if (!k) all = made;
            if (status != (k ? DART_MEMORY : DART_OK) && status != DART_OK)
                fail_msg("allocation %lu: %d, %s", k, (int)status, dart_error_text());
            if (live_blocks() != blocks)
                fail_msg("allocation %lu: %ld blocks stay", k, live_blocks() - blocks);
            refused_ += status == DART_MEMORY;
        }
    print_message("%lu allocations, %u trials failed\n", all, refused_);
#ifndef __SANITIZE_ADDRESS__
    assert_true(refused_ > all);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts_are_rows),
        cmocka_unit_test(epochs_are_whole), cmocka_unit_test(batches_by_length),
        cmocka_unit_test(lines_become_texts), cmocka_unit_test(one_file_is_cut_in_three),
        cmocka_unit_test(bad_lines_are_named), cmocka_unit_test(tables_become_texts),
        cmocka_unit_test(labels_are_found), cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(named_sets_are_read)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
