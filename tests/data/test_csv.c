/* Comma- and tab-separated values: records as RFC 4180 says, refusals with file and line, and the
 * same documents as of lines of JSON. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "csv.h"
#include "examples.h"
#include "file.h"

static char folder[] = "/tmp/dart-csv-XXXXXX";

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

/* All records as one text: fields end with '|', records with '/', each with its line before it. */
static dart_status all_of(const char *text, size_t size, char separator, char out[400])
{
    dart_csv csv;
    bool more = true;
    out[0] = 0;
    dart_status status = dart_csv_open("f.csv", text, size, separator, &csv);
    for (uint32_t i = 0; status == DART_OK && i < csv.columns; i++) {
        assert_int_equal(strlen(csv.name[i].text), csv.name[i].bytes);
        sprintf(out + strlen(out), "%s|", csv.name[i].text);
    }
    while (status == DART_OK && more) {
        status = dart_csv_next(&csv, &more);
        if (status != DART_OK || !more) break;
        sprintf(out + strlen(out), "/%d:", (int)csv.line);
        for (uint32_t i = 0; i < csv.columns; i++) {
            assert_int_equal(strlen(csv.field[i].text), csv.field[i].bytes);
            sprintf(out + strlen(out), "%s|", csv.field[i].text);
        }
    }
    dart_csv_close(&csv);
    return status;
}

static void records(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
        char separator;
    } good[] = {{"a,b\n1,2\n3,4\n", "a|b|/2:1|2|/3:3|4|", ','},
        {"a,b\r\n1,2\r\n3,4", "a|b|/2:1|2|/3:3|4|", ','}, /* no line end after the last */
        {"\xef\xbb\xbf\"a\",b\n\"x\ny\",z\n,\n", "a|b|/2:x\ny|z|/4:||", ','},
        {"a,b\n\"he said \"\"no, no\"\"\",\"\"\n", "a|b|/2:he said \"no, no\"||", ','},
        {"a,b\n5\" wide,x\"\"y\n", "a|b|/2:5\" wide|x\"\"y|", ','}, /* quotes inside are text */
        {"\n\r\na\tb,c\n\n\"\t\"\t\"\n\n\"\n\n1\t2\n", "a|b,c|/5:\t|\n\n|/9:1|2|", '\t'},
        {"a\n\"\"\nb\rc\n", "a|/2:|/3:b\rc|", ','}, {"a,b\n1,\"2\"", "a|b|/2:1|2|", ','},
        {"a,\xc3\xa9\n\xe4\xbd\xa0,\n", "a|\xc3\xa9|/2:\xe4\xbd\xa0||", ','}, {"a", "a|", ','}};
    char out[400];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ok(all_of(good[i].text, strlen(good[i].text), good[i].separator, out));
        assert_string_equal(out, good[i].expected);
    }
}

static void refusals(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"", "f.csv is empty"}, {"\n\r\n", "f.csv is empty"},
        {"\xef\xbb\xbf", "f.csv is empty"}, {"a,b,a\n", "f.csv, line 1: the column 'a' is named"},
        {"a,b\n1,2\n\n3\n", "f.csv, line 4 has 1 field, and the header 2"},
        {"a,b\n1,2,3\n", "f.csv, line 2 has 3 fields, and the header 2"},
        {"a,b\n\"x\n\ny,1\n", "f.csv, line 2: the quote that begins here is never closed"},
        {"a,b\n1,2\n\"x\ny\"z,1\n", "f.csv, line 4: there is text behind the closing quote"},
        {"a,b\n1,\"2\" \n", "f.csv, line 2: there is text behind the closing quote"},
        {"a\n\xff\n", "f.csv, line 2: byte 0xff of field 1 is no UTF-8"},
        {"a,b\n1,\xe4\xbd\n", "f.csv, line 2: byte 0xe4 of field 2 is no UTF-8"}};
    char out[400];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(all_of(bad[i][0], strlen(bad[i][0]), ',', out), DART_INPUT);
        if (!strstr(dart_error_text(), bad[i][1])) fail_msg("%s", dart_error_text());
    }
    assert_int_equal(all_of("a\n1\0002\n", 6, ',', out), DART_INPUT); /* a zero byte */
    assert_non_null(strstr(dart_error_text(), "byte 0x00 of field 1"));
    char *wide = calloc(1, 5001);
    memset(wide, ',', 5000);
    assert_int_equal(all_of(wide, 5000, ',', out), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "more than 4096 fields"));
    free(wide);
}

/* ---- as documents ---- */

static const char *write_file(const char *name, const char *text)
{
    static char path[8][256];
    static unsigned turn;
    char *out = path[turn++ % 8];
    snprintf(out, 256, "%s/%s", folder, name);
    ok(dart_file_write_sync(out, text, strlen(text)));
    return out;
}

static dart_status read_examples(
    const char *path, const char *prompt, const char *completion, const char *text, dart_corpus *c)
{
    static const char *const words[] = {"<eos>", "<unk>", "a", "b", "c", "q"};
    *c = (dart_corpus){0};
    ok(dart_vocab_from(DART_LEVEL_WORD, false, 6, words, &c->vocab));
    return dart_examples_read(&(dart_examples_options){.path = path,
                                  .valid = dart_is_folder(path) ? "" : path,
                                  .prompt_column = prompt,
                                  .completion_column = completion,
                                  .text_column = text,
                                  .why_no_chat = "no template",
                                  .time = 8},
        c);
}

static void assert_same(const char *path, const char *prompt, const char *completion,
    const char *text, const dart_corpus *expected)
{
    dart_corpus c;
    ok(read_examples(path, prompt, completion, text, &c));
    for (int i = 0; i < DART_SPLITS; i++) {
        assert_string_equal(c.hash[i], expected->hash[i]);
        assert_int_equal(c.count[i], expected->count[i]);
    }
    dart_corpus_free(&c);
}

static void documents(void **state)
{
    (void)state;
    dart_corpus pairs, texts;
    const char *path =
        write_file("pairs.jsonl", "{\"prompt\": \"q a\", \"completion\": \"b\\nc\"}\n"
                                  "{\"prompt\": \"q\", \"completion\": \"a\"}\n");
    ok(read_examples(path, "", "", "", &pairs));
    assert_same(write_file("pairs.csv", "id,completion,prompt\n1,\"b\nc\",q a\n2,a,q\n"), "", "",
        "", &pairs);
    path = write_file("other.TSV", "ask\tid\treply\nq a\t,\t\"b\nc\"\nq\t,\ta\n");
    assert_same(path, "ask", "reply", "", &pairs);
    /* names of keys in lines of JSON too */
    path = write_file("keys.jsonl", "{\"ask\": \"q a\", \"reply\": \"b\\nc\", \"text\": \"c\"}\n"
                                    "{\"ask\": \"q\", \"reply\": \"a\", \"prompt\": 1}\n");
    assert_same(path, "ask", "reply", NULL, &pairs);
    dart_corpus_free(&pairs);
    ok(read_examples(
        write_file("texts.jsonl", "{\"text\": \"a b\"}\n{\"text\": \"c\"}\n"), "", "", "", &texts));
    assert_same(write_file("texts.csv", "text\na b\nc\n"), NULL, NULL, NULL, &texts);
    /* a column that is asked for goes before a prompt and its completion */
    path = write_file("both.csv", "prompt,completion,body\nq,a,a b\nq,b,c\n");
    assert_same(path, "", "", "body", &texts);
    dart_corpus_free(&texts);
}

/* A file cut into splits by its records, not by its lines; a folder of files of any kind. */
static void splits(void **state)
{
    (void)state;
    char text[4000] = "text\n";
    dart_corpus c;
    for (int i = 0; i < 40; i++) strcat(text, "\"a\nb\nc\"\n");
    const char *path = write_file("cut.csv", text);
    c = (dart_corpus){0};
    static const char *const words[] = {"<eos>", "<unk>", "a", "b", "c"};
    ok(dart_vocab_from(DART_LEVEL_WORD, false, 5, words, &c.vocab));
    ok(dart_examples_read(&(dart_examples_options){.path = path, .valid = "", .time = 8}, &c));
    assert_int_equal(c.documents[DART_TRAIN].count, 36);
    assert_int_equal(c.documents[DART_VALID].count, 2);
    assert_int_equal(c.documents[DART_TEST].count, 2);
    dart_corpus_free(&c);
    char inner[300];
    snprintf(inner, sizeof inner, "%s/set", folder);
    ok(dart_mkdirs(inner));
    write_file("set/train.csv", "text\na b c\n");
    write_file("set/valid.tsv", "text\tid\nb c\t1\n");
    ok(read_examples(inner, "", "", "", &c));
    assert_int_equal(c.count[DART_TRAIN], 3);
    assert_int_equal(c.count[DART_VALID], 2);
    assert_string_equal(c.hash[DART_TEST], c.hash[DART_VALID]);
    dart_corpus_free(&c);
}

static void columns_that_are_missing(void **state)
{
    (void)state;
    static const struct {
        const char *text, *prompt, *completion, *whole, *says;
    } bad[] = {{"question,answer\na,b\n", "", "", "",
                   "has no columns 'prompt' and 'completion'; it "
                   "has question, answer: choose with"},
        {"question,answer\na,b\n", "question", "", "", "'question' and 'completion'"},
        {"question,answer\na,b\n", "", "", "body", "has no column 'body'; it has question, answer"},
        {"prompt,text\na,b\n", "prompt", "", "", "'prompt' and 'completion'"},
        {"prompt,completion\na,b\nc\n", "", "", "", "bad.csv, line 3 has 1 field"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dart_corpus c;
        const char *path = write_file("bad.csv", bad[i].text);
        assert_int_equal(
            read_examples(path, bad[i].prompt, bad[i].completion, bad[i].whole, &c), DART_INPUT);
        if (!strstr(dart_error_text(), bad[i].says)) fail_msg("%s", dart_error_text());
        dart_corpus_free(&c);
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return dart_remove_tree(folder) == DART_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(records), cmocka_unit_test(refusals),
        cmocka_unit_test(documents), cmocka_unit_test(splits),
        cmocka_unit_test(columns_that_are_missing)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
